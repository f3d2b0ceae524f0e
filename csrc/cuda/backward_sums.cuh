// What layer norm's backward sums: down the columns of a slot of rows, and along a row.
#pragma once

#include "cuda/runs.cuh"

namespace normdrop::NORMDROP_DEVICE {

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
  __device__ __forceinline__ PlainSum total() const {
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
  CompensatedSum g;
  CompensatedSum gx;
  __device__ __forceinline__ void add(float grad, float x_hat) {
    g.add_term(grad);
    gx.add_term(grad * x_hat);
  }
  __device__ __forceinline__ void add(double grad, double x_hat) {
    g.add_term(rounded<float>(grad));
    gx.add_term(rounded<float>(grad * x_hat));
  }
  template <class T>
  __device__ __forceinline__ GradientSums<T> total() const {
    return {g.total(), gx.total()};
  }
};

// Sums over a row of a half type in single precision, and the size of its largest term: numbers
// near the ends of float's range are left to double.
struct SingleRowSums {
  double g;
  double gx;
  double largest;

  __device__ __forceinline__ bool usable() const {
    return is_finite(g) && is_finite(gx) && (largest >= 0x1p-60 || largest == 0.0);
  }
};

__device__ __forceinline__ SingleRowSums combine(const SingleRowSums& a, const SingleRowSums& b) {
  return {a.g + b.g, a.gx + b.gx, fmax(a.largest, b.largest)};
}

}  // namespace normdrop::NORMDROP_DEVICE
