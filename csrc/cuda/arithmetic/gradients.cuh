// Gradients of a norm, with g = grad_output * weight and x^ = (x - mean) * inv_std:
//   grad_x = ((g - mean_g) - x^ * mean_g_x_hat) * inv_std
// and the sums that they need: of g and g * x^ over a set, of grad_output and grad_output * x^ for
// the gradients of bias and weight.
#pragma once

#include "cuda/arithmetic/double_double.cuh"
#include "cuda/arithmetic/packs.cuh"

namespace normdrop::NORMDROP_DEVICE {

// What a forward pass kept of its sets.
struct SetStatistics {
  const double* mean = nullptr;  // null: 0
  const double* inv_std = nullptr;
  const double* norm = nullptr;  // 1 / inv_std, where that is null; if both are, 1

  __device__ __forceinline__ double mean_at(std::int64_t set) const {
    return mean != nullptr ? mean[set] : 0.0;
  }
  __device__ __forceinline__ double inv_std_at(std::int64_t set) const {
    if (inv_std != nullptr) return inv_std[set];
    return norm != nullptr ? 1.0 / norm[set] : 1.0;
  }
};

// What a sum is multiplied by to be a mean in grad_x: 1 / count, or 0 where the statistic does not
// have it. RMS norm has no mean of g, frozen statistics have none.
struct MeanFactors {
  double grad;
  double grad_x_hat;

  __host__ __device__ bool none() const { return grad == 0.0 && grad_x_hat == 0.0; }
};

// Sums of g = grad_output * weight and of g * x^.
template <class T>
struct GradientSums {
  running_sums<T> grad;
  running_sums<T> grad_x_hat;

  __device__ __forceinline__ void add(double term, double x_hat) {
    grad.add_term(term);
    grad_x_hat.add_term(term * x_hat);
    if constexpr (sizeof(T) == 8) grad_x_hat.error += fma(term, x_hat, -(term * x_hat));
  }
};

template <class T>
__device__ __forceinline__ GradientSums<T> combine(const GradientSums<T>& a,
                                                   const GradientSums<T>& b) {
  return {combine(a.grad, b.grad), combine(a.grad_x_hat, b.grad_x_hat)};
}

// grad_x = ((grad_output * weight - mean_g) - x^ * mean_g_x_hat) * factor
struct GradientLine {
  double mean;
  double inv_std;
  double mean_g;
  double mean_g_x_hat;
  double factor;
};

// Where the statistics were constants, gradient() uses the factor alone.
__device__ __forceinline__ GradientLine line_of(double mean, double inv_std, double grad,
                                                double grad_x_hat, const MeanFactors& factors,
                                                double weight) {
  return {.mean = mean,
          .inv_std = inv_std,
          .mean_g = grad * factors.grad,
          .mean_g_x_hat = grad_x_hat * factors.grad_x_hat,
          .factor = inv_std * weight};
}

// ((g - mean_g) - x^ * mean_g_x_hat) * factor; with constant statistics g * factor whatever x is.
template <class T>
__device__ __forceinline__ T gradient(T grad_output, T x, const GradientLine& line, double weight,
                                      bool constants, T addend = {}) {
  double g = static_cast<double>(widened(grad_output)) * weight;
  if (!constants) {
    const double x_hat = (static_cast<double>(widened(x)) - line.mean) * line.inv_std;
    g = (g - line.mean_g) - x_hat * line.mean_g_x_hat;
  }
  return rounded<T>(fma(g, line.factor, static_cast<double>(widened(addend))));
}

// A column's sum over a slot of rows. Terms of half types are floats: their errors are kept too.
struct CompensatedSum {
  float value;
  float error;
  __device__ __forceinline__ void add_term(float term) {
    const float sum = value + term;
    const float part = sum - value;
    error += (value - (sum - part)) + (term - part);
    value = sum;
  }
  __device__ __forceinline__ plain_sums total() const {
    return {static_cast<double>(value) + static_cast<double>(error)};
  }
};

template <class T>
struct ColumnSums {
  GradientSums<T> sums;
  __device__ __forceinline__ void add(double grad, double x_hat) { sums.add(grad, x_hat); }
  __device__ __forceinline__ GradientSums<T> total() const { return sums; }
};

struct HalfColumnSums {
  CompensatedSum grad;
  CompensatedSum grad_x_hat;
  __device__ __forceinline__ void add(float term, float x_hat) {
    grad.add_term(term);
    grad_x_hat.add_term(term * x_hat);
  }
  __device__ __forceinline__ void add(double term, double x_hat) {
    grad.add_term(rounded<float>(term));
    grad_x_hat.add_term(rounded<float>(term * x_hat));
  }
  template <class T>
  __device__ __forceinline__ GradientSums<T> total() const {
    return {grad.total(), grad_x_hat.total()};
  }
};

// Sums over a row of a half type in single precision, and the size of its largest term: numbers
// near the ends of float's range are left to double.
struct SingleRowSums {
  double grad;
  double grad_x_hat;
  double largest;

  __device__ __forceinline__ bool usable() const {
    return is_finite(grad) && is_finite(grad_x_hat) && (largest >= 0x1p-60 || largest == 0.0);
  }
};

__device__ __forceinline__ SingleRowSums combine(const SingleRowSums& a, const SingleRowSums& b) {
  return {a.grad + b.grad, a.grad_x_hat + b.grad_x_hat, fmax(a.largest, b.largest)};
}

}  // namespace normdrop::NORMDROP_DEVICE
