// Sums of two doubles, about 106 bits: for statistics of float64 data and the few scalars of a row.
// Dekker (1971), Knuth (TAOCP 2).
#pragma once

#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

struct double_double {
  double high;
  double low;
};

__device__ __forceinline__ bool is_finite(double value) { return value * 0.0 == 0.0; }

__device__ __forceinline__ double_double two_sum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

__device__ __forceinline__ double_double quick_two_sum(double large, double small) {
  const double sum = large + small;
  return {sum, small - (sum - large)};
}

__device__ __forceinline__ double_double add(double_double a, double_double b) {
  const double_double high = two_sum(a.high, b.high);
  return quick_two_sum(high.high, high.low + (a.low + b.low));
}

__device__ __forceinline__ double_double multiply(double_double a, double b) {
  const double product = a.high * b;
  return quick_two_sum(product, fma(a.high, b, -product) + a.low * b);
}

// A count to divide by often: with its reciprocal a quotient takes a few multiplications. One step
// of correction makes the quotient exact wherever a double can hold it.
struct Divisor {
  double value;
  double reciprocal;

  __host__ __device__ explicit Divisor(double count) : value(count), reciprocal(1.0 / count) {}

  __device__ __forceinline__ double_double quotient(double_double a) const {
    const double guess = a.high * reciprocal;
    if (!is_finite(guess)) return {guess, 0.0};
    const double high = guess + fma(-guess, value, a.high) * reciprocal;
    return quick_two_sum(high, (fma(-high, value, a.high) + a.low) * reciprocal);
  }
};

// 1 / sqrt(v), with one Newton step for the part that a double cannot hold.
__device__ __forceinline__ double_double inverse_sqrt(double_double v) {
  const double guess = 1.0 / sqrt(v.high);
  const double square = v.high * guess;
  const double residual =
      fma(-square, guess, 1.0) - (fma(v.high, guess, -square) + v.low * guess) * guess;
  const double correction = 0.5 * guess * residual;
  return {guess, correction * 0.0 == 0.0 ? correction : 0.0};
}

// A running sum: terms that come from float32 or less leave a double's last digits free, those of
// float64 need the rounding errors too.
struct plain_sums {
  double value;
  __device__ __forceinline__ void add_term(double term) { value += term; }
  __device__ __forceinline__ void add_square(double root) { value = fma(root, root, value); }
  __device__ __forceinline__ double_double total() const { return {value, 0.0}; }
};

struct exact_sums {
  double value;
  double error;
  __device__ __forceinline__ void add_term(double term) {
    const double_double sum = two_sum(value, term);
    value = sum.high;
    error += sum.low;
  }
  __device__ __forceinline__ void add_square(double root) { add_term(root * root); }
  // Where the sum is not finite its error is not a number, and means nothing.
  __device__ __forceinline__ double_double total() const {
    return is_finite(value) ? quick_two_sum(value, error) : double_double{value, 0.0};
  }
};

__device__ __forceinline__ plain_sums combine(plain_sums a, plain_sums b) {
  return {a.value + b.value};
}

__device__ __forceinline__ exact_sums combine(exact_sums a, exact_sums b) {
  const double_double sum = two_sum(a.value, b.value);
  return {sum.high, sum.low + (a.error + b.error)};
}

template <class T>
struct sums_for {
  using type = plain_sums;
};
template <>
struct sums_for<double> {
  using type = exact_sums;
};
template <class T>
using running_sums = typename sums_for<T>::type;

}  // namespace normdrop::NORMDROP_DEVICE
