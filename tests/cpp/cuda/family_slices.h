// The norms beside layer and batch norm, as slices of plain loops (reference.h): what differs is
// which elements belong together, and about what their squares are taken.
#pragma once

#include "norm_problems.h"

namespace normdrop::driver {

// Squares about 0, as of RMS norm.
struct RmsNormSlices : LayerNormSlices {
  double mean_divisor(std::int64_t) const { return static_cast<double>(length()); }
};

// The length of a channel: its squares are not divided by their count.
struct WeightNormSlices : BatchNormSlices {
  double mean_divisor(std::int64_t) const { return 1.0; }
};

template <class T, class Slices>
  requires requires(const Slices& slices) { slices.mean_divisor(0); }
Stats stats_of(const std::vector<T>& x, const Slices& slices, std::int64_t slice, double eps) {
  double largest = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t) {
    largest = std::max(largest, std::abs(static_cast<double>(x[i])));
  });
  const bool ordinary = largest == 0.0 || !std::isfinite(largest);
  const double scale = ordinary ? 1.0 : std::ldexp(1.0, -std::ilogb(largest));
  double squares = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t) {
    const double value = static_cast<double>(x[i]) * scale;
    squares += value * value;
  });
  const double var = squares / slices.mean_divisor(slice);
  return {0.0, var / scale / scale, scale / std::sqrt(var + eps * scale * scale)};
}

template <class T, class P, class Slices>
  requires requires(const Slices& slices) { slices.mean_divisor(0); }
void add_gradients(const std::vector<T>& grad_output, const std::vector<T>& x,
                   const std::vector<P>& weight, const Slices& slices, std::int64_t slice, double,
                   double inv_std, bool, Gradients* gradients) {
  double sum = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t p) {
    const auto grad = static_cast<double>(grad_output[i]);
    const double x_hat = static_cast<double>(x[i]) * inv_std;
    sum += grad * parameter_or(weight, p, 1.0) * x_hat;
    gradients->weight[p] += grad * x_hat;
    gradients->bias[p] += grad;
  });
  const double mean = sum / slices.mean_divisor(slice);
  slices.for_each(slice, [&](std::size_t i, std::size_t p) {
    const double g = static_cast<double>(grad_output[i]) * parameter_or(weight, p, 1.0);
    gradients->x[i] = inv_std * (g - static_cast<double>(x[i]) * inv_std * mean);
  });
}

// Group norm of (batch, before, channels, after), as Shape{batch, channels, before * after}.
template <std::int64_t before, std::int64_t groups>
struct GroupNormSlices {
  Shape shape;
  std::int64_t after() const { return shape.inner / before; }
  std::int64_t channels_of_set() const { return shape.middle / groups; }
  std::int64_t slices() const { return shape.outer * groups; }
  std::int64_t length() const { return channels_of_set() * shape.inner; }

  template <class Body>
  void for_each(std::int64_t slice, Body&& body) const {
    const std::int64_t first = slice % groups * channels_of_set();
    for (std::int64_t b = 0; b < before; ++b) {
      for (std::int64_t c = first; c < first + channels_of_set(); ++c) {
        for (std::int64_t k = 0; k < after(); ++k) {
          const std::int64_t row = slice / groups * before + b;
          body(static_cast<std::size_t>((row * shape.middle + c) * after() + k),
               static_cast<std::size_t>(c));
        }
      }
    }
  }
};

}  // namespace normdrop::driver
