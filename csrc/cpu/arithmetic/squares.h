// Sum of squares about zero: the statistic of RMS norm.
#pragma once

#include "cpu/arithmetic/statistic.h"

namespace normdrop::NORMDROP_ISA {

struct Squares {
  static constexpr bool centred = false;
  double count;
  double sum_of_squares;

  template <bool scaled, class T>
  static Squares part(const Runs<T>& chunk);
};

// Sum of the squares of value(x, extent), packs of float64 elements. Equal squares round alike and
// would drift: every few of them go to sums that keep their errors.
template <class Value>
NORMDROP_INLINE double sum_of_squares_of(const Runs<double>& in, Value&& value) {
  exact_sums squares{splat(0.0), splat(0.0)};
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const double* x = in.x + r * in.stride;
    std::int64_t i = 0;
    for (; i + 4 * pack_size <= in.length; i += 4 * pack_size) {
      pack sum = splat(0.0);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const pack v = value(x + i + k * pack_size, full_pack{});
        sum = k == 0 ? v * v : multiply_add(v, v, sum);
      }
      squares = add(squares, sum);
    }
    for_each_pack(in.length - i, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack v = value(x + i + k, extent);
      squares = add(squares, v * v);
    });
  }
  return total_of(squares);
}

template <bool scaled>
NORMDROP_INLINE double chunk_squares(const Runs<double>& in) {
  return sum_of_squares_of(in, [&](const double* x, auto extent) NORMDROP_LAMBDA_INLINE {
    return rescale<scaled>(load(x, extent), in.scale);
  });
}

// float32 and the half types: squares of elements are doubles without a rounding.
template <class T, class Length>
NORMDROP_INLINE double square_sum(const Runs<T>& in, Length length) {
  pack square = splat(0.0);
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const T* x = in.x + r * in.stride;
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack value = load(x + i, extent);
      square = multiply_add(value, value, square);
    });
  }
  return sum_of_lanes(square);
}

template <bool scaled, class T>
NORMDROP_INLINE double chunk_squares(const Runs<T>& in) {
  return square_sum(in, any_length{in.length});
}

template <bool scaled, class T>
NORMDROP_OUT_OF_LINE Squares Squares::part(const Runs<T>& chunk) {
  return {static_cast<double>(chunk.runs * chunk.length), chunk_squares<scaled>(chunk)};
}

static inline Squares merge(const Squares* part, std::int64_t parts, std::int64_t step = 1) {
  double_double squares{0.0, 0.0};
  double count = 0.0;
  for (std::int64_t i = 0; i < parts; ++i) {
    squares = add(squares, {part[i * step].sum_of_squares, 0.0});
    count += part[i * step].count;
  }
  return {count, squares.high};
}

NORMDROP_INLINE bool is_finite(const Squares& squares) { return is_finite(squares.sum_of_squares); }

NORMDROP_INLINE Normaliser normaliser(const Squares& squares, double eps, double scale) {
  return normaliser({0.0, 0.0}, squares.sum_of_squares, squares.count, eps, scale);
}

// Beside an infinite element every other one vanishes; a NaN spoils all.
template <class T>
Normaliser spoilt_normaliser(const Squares&, const Runs<T>& in) {
  double sum = 0.0;
  for (std::int64_t r = 0; r < in.runs; ++r) {
    for (std::int64_t i = 0; i < in.length; ++i) {
      const double value = static_cast<double>(value_of(in.x[r * in.stride + i])) * in.scale;
      sum += value * value;
    }
  }
  return {{0.0, 0.0}, {sum == sum ? 0.0 : sum, 0.0}, sum, in.scale};
}

}  // namespace normdrop::NORMDROP_ISA
