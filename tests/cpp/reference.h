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
  std::int64_t element(std::int64_t slice, std::int64_t k) const {
    const std::int64_t outer = slice / shape.inner;
    return (outer * shape.middle + k) * shape.inner + slice % shape.inner;
  }
  std::int64_t parameter(std::int64_t, std::int64_t k) const { return k; }
};

struct BatchNormSlices {
  Shape shape;
  std::int64_t slices() const { return shape.middle; }
  std::int64_t length() const { return shape.outer * shape.inner; }
  std::int64_t element(std::int64_t slice, std::int64_t k) const {
    const std::int64_t outer = k / shape.inner;
    return (outer * shape.middle + slice) * shape.inner + k % shape.inner;
  }
  std::int64_t parameter(std::int64_t slice, std::int64_t) const { return slice; }
};

struct Stats {
  double mean;
  double var;
  double inv_std;
};

// Of one slice, scaled by its largest magnitude so that no square leaves the range of a double.
template <class T, class Slices>
Stats stats_of(const std::vector<T>& x, const Slices& slices, std::int64_t slice, double eps) {
  const auto value = [&](std::int64_t k) {
    return static_cast<double>(x[static_cast<std::size_t>(slices.element(slice, k))]);
  };
  const std::int64_t length = slices.length();
  double largest = 0.0;
  for (std::int64_t k = 0; k < length; ++k) largest = std::max(largest, std::abs(value(k)));
  const double scale = largest > 0.0 && std::isfinite(largest) ? largest : 1.0;
  double sum = 0.0;
  for (std::int64_t k = 0; k < length; ++k) sum += value(k) / scale;
  const double mean = sum / static_cast<double>(length);
  double squares = 0.0;
  for (std::int64_t k = 0; k < length; ++k) {
    squares += (value(k) / scale - mean) * (value(k) / scale - mean);
  }
  const double var = squares / static_cast<double>(length);
  return {mean * scale, var * scale * scale, 1.0 / std::sqrt(var + eps / scale / scale) / scale};
}

template <class T>
double parameter_or(const std::vector<T>& values, std::int64_t index, double otherwise) {
  return values.empty() ? otherwise : static_cast<double>(values[static_cast<std::size_t>(index)]);
}

// y of one slice; absent parameters are empty. A variance of 0 with eps = 0 gives the bias.
template <class T, class Slices>
void normalise(const std::vector<T>& x, const std::vector<T>& weight, const std::vector<T>& bias,
               const Slices& slices, std::int64_t slice, const Stats& stats,
               std::vector<double>* y) {
  for (std::int64_t k = 0; k < slices.length(); ++k) {
    const auto i = static_cast<std::size_t>(slices.element(slice, k));
    const double deviation = static_cast<double>(x[i]) - stats.mean;
    const double normalised = std::isinf(stats.inv_std) ? 0.0 : deviation * stats.inv_std;
    (*y)[i] = normalised * parameter_or(weight, slices.parameter(slice, k), 1.0) +
              parameter_or(bias, slices.parameter(slice, k), 0.0);
  }
}

struct Gradients {
  std::vector<double> x;
  std::vector<double> weight;
  std::vector<double> bias;
};

// Writes the gradients of one slice and adds to those of the parameters.
template <class T, class Slices>
void add_gradients(const std::vector<T>& grad_output, const std::vector<T>& x,
                   const std::vector<T>& weight, const Slices& slices, std::int64_t slice,
                   double mean, double inv_std, bool frozen, Gradients* gradients) {
  const std::int64_t length = slices.length();
  double sum_g = 0.0;
  double sum_gx = 0.0;
  for (std::int64_t k = 0; k < length; ++k) {
    const auto i = static_cast<std::size_t>(slices.element(slice, k));
    const auto p = static_cast<std::size_t>(slices.parameter(slice, k));
    const double grad = static_cast<double>(grad_output[i]);
    const double normalised = (static_cast<double>(x[i]) - mean) * inv_std;
    const double g = grad * parameter_or(weight, slices.parameter(slice, k), 1.0);
    sum_g += g;
    sum_gx += g * normalised;
    gradients->weight[p] += grad * normalised;
    gradients->bias[p] += grad;
  }
  const double mean_g = frozen ? 0.0 : sum_g / static_cast<double>(length);
  const double mean_gx = frozen ? 0.0 : sum_gx / static_cast<double>(length);
  for (std::int64_t k = 0; k < length; ++k) {
    const auto i = static_cast<std::size_t>(slices.element(slice, k));
    const double normalised = (static_cast<double>(x[i]) - mean) * inv_std;
    const double g =
        static_cast<double>(grad_output[i]) * parameter_or(weight, slices.parameter(slice, k), 1.0);
    gradients->x[i] = inv_std * (g - mean_g - normalised * mean_gx);
  }
}

}  // namespace normdrop::driver
