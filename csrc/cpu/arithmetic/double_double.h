// Sums of two doubles, about 106 bits: for the few scalars of a row or a channel.
// Dekker (1971), Knuth (TAOCP 2). __builtin_fma is exact everywhere, if slow without hardware.
#pragma once

#include "cpu/simd/simd.h"

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

NORMDROP_INLINE bool is_finite(double value) { return value * 0.0 == 0.0; }

NORMDROP_INLINE bool within(double value, double low, double high) {
  const double magnitude = value < 0.0 ? -value : value;
  return (magnitude >= low) & (magnitude <= high);
}

// The sum of part(0), part(1), ... in order, with the rounding errors of the additions; of parts that
// are not all finite, what plain additions give.
template <class Part>
NORMDROP_INLINE double sum_in_order(std::int64_t parts, Part&& part) {
  double_double sum{0.0, 0.0};
  for (std::int64_t i = 0; i < parts; ++i) {
    const double_double next = two_sum(sum.high, part(i));
    sum = {next.high, sum.low + next.low};
  }
  return is_finite(sum.low) ? sum.high + sum.low : sum.high;
}

// The same of parts that lie `step` apart.
static inline double sum_in_order(const double* part, std::int64_t parts, std::int64_t step = 1) {
  return sum_in_order(parts, [&](std::int64_t i) { return part[i * step]; });
}

// sum - quotient * count for quotient = sum / count, without a rounding: by halves of 26 bits where
// there is no fma, so that a loop over it stays one of vectors.
NORMDROP_INLINE double remainder_of(double sum, double quotient, double count) {
  if constexpr (has_fma) return __builtin_fma(-quotient, count, sum);
  constexpr double splitter = 0x1p+27 + 1.0;
  const double q = quotient * splitter;
  const double q_high = q - (q - quotient);
  const double q_low = quotient - q_high;
  const double c = count * splitter;
  const double c_high = c - (c - count);
  const double c_low = count - c_high;
  const double product = quotient * count;
  const double error =
      ((q_high * c_high - product) + (q_high * c_low + q_low * c_high)) + q_low * c_low;
  return (sum - product) - error;
}

// A pack of running sums with their rounding errors.
struct exact_sums {
  pack sum;
  pack error;
};

// Of the seven additions of a two_sum and its error, three go to the multiply-add unit.
NORMDROP_INLINE exact_sums add(exact_sums a, pack value) {
  const pack sum = a.sum + value;
  const pack value_part = subtract_by_fma(sum, a.sum);
  const pack sum_part = sum - value_part;
  const pack rest = add_by_fma(subtract_by_fma(a.sum, sum_part), value - value_part);
  return {sum, a.error + rest};
}

// Sums for gradients: terms of float32 leave a double's last digits free, those of float64 need
// the rounding errors too.
struct plain_sums {
  pack sum;
};

NORMDROP_INLINE plain_sums add(plain_sums a, pack value) { return {a.sum + value}; }
NORMDROP_INLINE plain_sums add_product(plain_sums a, pack b, pack c) {
  return {multiply_add(b, c, a.sum)};
}
NORMDROP_INLINE exact_sums add_product(exact_sums a, pack b, pack c) { return add(a, b * c); }
NORMDROP_INLINE double total_of(const plain_sums& a) { return sum_of_lanes(a.sum); }
NORMDROP_INLINE double total_of(const exact_sums& a) {
  return sum_of_lanes(a.sum) + sum_of_lanes(a.error);
}

NORMDROP_INLINE pack sum_of(const plain_sums& a) { return a.sum; }
NORMDROP_INLINE pack sum_of(const exact_sums& a) { return a.sum + a.error; }

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

// The same kept in memory: element j of `sum`, and for float64 its error `errors_at` further on.
template <class T>
NORMDROP_INLINE void add_in_memory(double* sum, std::int64_t errors_at, std::int64_t j,
                                   pack value) {
  if constexpr (sizeof(T) == 8) {
    const exact_sums sums = add(exact_sums{load(sum + j), load(sum + errors_at + j)}, value);
    store(sum + j, sums.sum);
    store(sum + errors_at + j, sums.error);
  } else {
    store(sum + j, load(sum + j) + value);
  }
}

// One element of the same.
template <class T>
NORMDROP_INLINE void add_in_memory(double* sum, std::int64_t errors_at, std::int64_t j,
                                   double value) {
  if constexpr (sizeof(T) == 8) {
    const double_double sums = two_sum(sum[j], value);
    sum[j] = sums.high;
    sum[errors_at + j] += sums.low;
  } else {
    sum[j] += value;
  }
}

template <class T>
NORMDROP_INLINE void fold_errors(double* sum, std::int64_t errors_at, std::int64_t count) {
  if constexpr (sizeof(T) == 8) {
    for (std::int64_t j = 0; j < count; ++j) sum[j] += sum[errors_at + j];
  }
}

// Lanes in the order of sum_of_lanes(pack), every addition with its rounding error.
static inline double_double sum_of_lanes(const exact_sums& sums) {
  alignas(64) double high[pack_size];
  alignas(64) double low[pack_size];
  store(high, sums.sum);
  store(low, sums.error);
#pragma GCC unroll 4
  for (int half = pack_size / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) {
      const double_double sum = two_sum(high[i], high[i + half]);
      high[i] = sum.high;
      low[i] += low[i + half] + sum.low;
    }
  }
  return quick_two_sum(high[0], low[0]);
}

}  // namespace normdrop::NORMDROP_ISA
