// Sums of two doubles, about 106 bits: for the few scalars of a row or a channel.
// Dekker (1971), Knuth (TAOCP 2). __builtin_fma is exact everywhere, if slow without hardware.
#pragma once

#include "cpu/simd.h"

namespace normdrop::NORMDROP_ISA {

struct double_double {
  double high;
  double low;
};

NORMDROP_INLINE double_double two_sum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

NORMDROP_INLINE double_double quick_two_sum(double large, double small) {
  const double sum = large + small;
  return {sum, small - (sum - large)};
}

NORMDROP_INLINE double_double add(double_double a, double_double b) {
  const double_double high = two_sum(a.high, b.high);
  return quick_two_sum(high.high, high.low + (a.low + b.low));
}

NORMDROP_INLINE double_double multiply(double_double a, double b) {
  const double product = a.high * b;
  return quick_two_sum(product, __builtin_fma(a.high, b, -product) + a.low * b);
}

NORMDROP_INLINE double_double divide(double_double a, double b) {
  const double quotient = a.high / b;
  return quick_two_sum(quotient, (__builtin_fma(-quotient, b, a.high) + a.low) / b);
}

// A group of running sums with their rounding errors.
struct exact_sums {
  group sum;
  group error;
};

NORMDROP_INLINE exact_sums add(exact_sums a, group value) {
  const group sum = a.sum + value;
  const group value_part = sum - a.sum;
  return {sum, a.error + ((a.sum - (sum - value_part)) + (value - value_part))};
}

static inline double_double sum_of_lanes(const exact_sums& sums) {
  alignas(64) double high[group_size];
  alignas(64) double low[group_size];
  store(high, sums.sum);
  store(low, sums.error);
  double_double total{0.0, 0.0};
  for (int i = 0; i < group_size; ++i) total = add(total, two_sum(high[i], low[i]));
  return total;
}

}  // namespace normdrop::NORMDROP_ISA
