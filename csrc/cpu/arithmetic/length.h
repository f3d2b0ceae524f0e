// The length of a set, the root of its sum of squares: the statistic of weight norm. A set's
// normaliser then has 1 / length in the place of inv_std.
#pragma once

#include "cpu/arithmetic/mean_and_variance.h"

namespace normdrop::NORMDROP_ISA {

struct SquareSum {
  static constexpr bool centred = false;
  Squares squares;

  template <bool scaled, class T>
  NORMDROP_LAMBDA_INLINE static SquareSum part(const Runs<T>& chunk) {
    return {Squares::part<scaled>(chunk)};
  }
};

template <class T>
void column_parts(const Block<T>& in, double* scratch, SquareSum* out) {
  Scratch<Squares> squares(in.columns);
  column_parts(in, scratch, squares.data());
  for (std::int64_t j = 0; j < in.columns; ++j) out[j].squares = squares[j];
}

static inline SquareSum merge(const SquareSum* part, std::int64_t parts, std::int64_t step = 1) {
  double_double sum{0.0, 0.0};
  for (std::int64_t i = 0; i < parts; ++i) {
    sum = add(sum, {part[i * step].squares.sum_of_squares, 0.0});
  }
  return {{1.0, sum.high}};
}

NORMDROP_INLINE bool is_finite(const SquareSum& sum) { return is_finite(sum.squares); }

// Not divided by the count.
NORMDROP_INLINE Normaliser normaliser(const SquareSum& sum, double, double scale) {
  return normaliser({0.0, 0.0}, sum.squares.sum_of_squares, 1.0, 0.0, scale);
}

template <class T>
Normaliser spoilt_normaliser(const SquareSum& sum, const Runs<T>& in) {
  return spoilt_normaliser(sum.squares, in);
}

using LengthOfSet = SetStatistic<SquareSum>;

NORMDROP_INLINE double reported_length(const Normaliser& n) {
  return __builtin_sqrt(n.var) / n.scale;
}

}  // namespace normdrop::NORMDROP_ISA
