// The norms as plain loops in double.
//
// Both norms see (outer, middle, inner) as slices that are normalised each by itself. A layer norm
// has a slice for every (outer, inner), along middle, with a parameter for every element of it; a
// batch norm one for every middle (a channel), with one parameter for all of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace normdrop::driver {

struct Shape {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;
  std::int64_t size() const { return outer * middle * inner; }
  std::int64_t row_length() const { return middle * inner; }
};

struct LayerNormSlices {
  Shape shape;
  std::int64_t slices() const { return shape.outer * shape.inner; }
  std::int64_t length() const { return shape.middle; }

  // Calls body(element, parameter), indices both, for every element of a slice.
  template <class Body>
  void for_each(std::int64_t slice, Body&& body) const {
    const std::int64_t outer = slice / shape.inner;
    std::int64_t i = outer * shape.row_length() + slice % shape.inner;
    for (std::int64_t k = 0; k < shape.middle; ++k, i += shape.inner) {
      body(static_cast<std::size_t>(i), static_cast<std::size_t>(k));
    }
  }
};

struct BatchNormSlices {
  Shape shape;
  std::int64_t slices() const { return shape.middle; }
  std::int64_t length() const { return shape.outer * shape.inner; }

  template <class Body>
  void for_each(std::int64_t slice, Body&& body) const {
    for (std::int64_t outer = 0; outer < shape.outer; ++outer) {
      const std::int64_t i = (outer * shape.middle + slice) * shape.inner;
      for (std::int64_t k = 0; k < shape.inner; ++k) {
        body(static_cast<std::size_t>(i + k), static_cast<std::size_t>(slice));
      }
    }
  }
};

struct Stats {
  double mean;
  double var;
  double inv_std;
};

// Of one slice, times a power of two that keeps all squares in the range of a double.
template <class T, class Slices>
Stats stats_of(const std::vector<T>& x, const Slices& slices, std::int64_t slice, double eps) {
  double largest = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t) {
    largest = std::max(largest, std::abs(static_cast<double>(x[i])));
  });
  const bool ordinary = largest == 0.0 || !std::isfinite(largest);
  const double scale = ordinary ? 1.0 : std::ldexp(1.0, -std::ilogb(largest));
  const double length = static_cast<double>(slices.length());
  double sum = 0.0;
  slices.for_each(slice,
                  [&](std::size_t i, std::size_t) { sum += static_cast<double>(x[i]) * scale; });
  const double mean = sum / length;
  double squares = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t) {
    const double deviation = static_cast<double>(x[i]) * scale - mean;
    squares += deviation * deviation;
  });
  const double var = squares / length;
  return {mean / scale, var / scale / scale, scale / std::sqrt(var + eps * scale * scale)};
}

template <class T>
double parameter_or(const std::vector<T>& values, std::size_t index, double otherwise) {
  return values.empty() ? otherwise : static_cast<double>(values[index]);
}

// y of one slice; absent parameters are empty. A variance of 0 with eps = 0 gives the bias.
template <class T, class P, class Slices>
void normalise(const std::vector<T>& x, const std::vector<P>& weight, const std::vector<P>& bias,
               const Slices& slices, std::int64_t slice, const Stats& stats,
               std::vector<double>* y) {
  const double inv_std = std::isinf(stats.inv_std) ? 0.0 : stats.inv_std;
  slices.for_each(slice, [&](std::size_t i, std::size_t p) {
    const double deviation = static_cast<double>(x[i]) - stats.mean;
    (*y)[i] = deviation * inv_std * parameter_or(weight, p, 1.0) + parameter_or(bias, p, 0.0);
  });
}

struct Gradients {
  std::vector<double> x;
  std::vector<double> weight;
  std::vector<double> bias;
};

// Writes the gradients of one slice and adds to those of the parameters.
template <class T, class P, class Slices>
void add_gradients(const std::vector<T>& grad_output, const std::vector<T>& x,
                   const std::vector<P>& weight, const Slices& slices, std::int64_t slice,
                   double mean, double inv_std, bool frozen, Gradients* gradients) {
  const double length = static_cast<double>(slices.length());
  double sum_g = 0.0;
  double sum_gx = 0.0;
  slices.for_each(slice, [&](std::size_t i, std::size_t p) {
    const auto grad = static_cast<double>(grad_output[i]);
    const double normalised = (static_cast<double>(x[i]) - mean) * inv_std;
    const double g = grad * parameter_or(weight, p, 1.0);
    sum_g += g;
    sum_gx += g * normalised;
    gradients->weight[p] += grad * normalised;
    gradients->bias[p] += grad;
  });
  const double mean_g = frozen ? 0.0 : sum_g / length;
  const double mean_gx = frozen ? 0.0 : sum_gx / length;
  slices.for_each(slice, [&](std::size_t i, std::size_t p) {
    const double g = static_cast<double>(grad_output[i]) * parameter_or(weight, p, 1.0);
    const double normalised = (static_cast<double>(x[i]) - mean) * inv_std;
    gradients->x[i] = inv_std * (g - mean_g - normalised * mean_gx);
  });
}

}  // namespace normdrop::driver
