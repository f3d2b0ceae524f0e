// The scalars of several rows at once, so that their divisions and square roots overlap. A row's
// bits do not depend on which rows share its batch. Not for float64.
#pragma once

#include "cpu/arithmetic/moments.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr int rows_at_once = cpu::tuning::short_rows_at_once;

// Calls body(row) for the rows there are, and up to the next power of two: in vectors.
template <class Body>
NORMDROP_INLINE void for_rows_at_once(std::int64_t rows, Body&& body) {
  static_assert(rows_at_once == 8);
  if (rows == 1) return body(0);
  if (rows <= 4) {
#pragma omp simd
    for (int r = 0; r < 4; ++r) body(r);
  } else {
#pragma omp simd
    for (int r = 0; r < 8; ++r) body(r);
  }
}

// Variances and what is made of them.
struct SpreadOfRows {
  double var[rows_at_once];
  double inv_std[rows_at_once];

  NORMDROP_LAMBDA_INLINE void set(std::int64_t r, double squares, double count, double eps) {
    var[r] = squares / count;
    const double sum = var[r] + eps;
    inv_std[r] = sum == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(sum);
  }
};

template <class Statistic>
class ScalarsOfRows;

template <>
class ScalarsOfRows<Moments> {
 public:
  template <class T, class Length>
  NORMDROP_LAMBDA_INLINE void add(std::int64_t r, const T* x, Length length) {
    const DeviationSums sums = deviation_sums<false>(Runs<T>{x, 1, length.length, 0}, length);
    centre_[r] = sums.centre;
    total_[r] = sums.total;
    square_[r] = sums.square;
  }

  NORMDROP_LAMBDA_INLINE void finish(std::int64_t rows, std::int64_t length, double eps) {
    const double count = static_cast<double>(length);
    for_rows_at_once(rows, [&](std::int64_t r) NORMDROP_LAMBDA_INLINE {
      const MeanParts mean = mean_about(centre_[r], total_[r], count);
      offset_[r] = mean.offset;
      rest_[r] = mean.rest;
      spread_.set(r, squares_about_mean(square_[r], total_[r], mean.offset), count, eps);
    });
  }

  const SpreadOfRows& spread() const { return spread_; }
  MeanParts mean(std::int64_t r) const { return {centre_[r], offset_[r], rest_[r]}; }

 private:
  double centre_[rows_at_once] = {};
  double total_[rows_at_once] = {};
  double square_[rows_at_once] = {};
  double offset_[rows_at_once];
  double rest_[rows_at_once];
  SpreadOfRows spread_;
};

template <>
class ScalarsOfRows<Squares> {
 public:
  template <class T, class Length>
  NORMDROP_LAMBDA_INLINE void add(std::int64_t r, const T* x, Length length) {
    square_[r] = square_sum(Runs<T>{x, 1, length.length, 0}, length);
  }

  NORMDROP_LAMBDA_INLINE void finish(std::int64_t rows, std::int64_t length, double eps) {
    const double count = static_cast<double>(length);
    for_rows_at_once(rows, [&](std::int64_t r)
                               NORMDROP_LAMBDA_INLINE { spread_.set(r, square_[r], count, eps); });
  }

  const SpreadOfRows& spread() const { return spread_; }
  MeanParts mean(std::int64_t) const { return {0.0, 0.0, 0.0}; }

 private:
  double square_[rows_at_once] = {};
  SpreadOfRows spread_;
};

}  // namespace normdrop::NORMDROP_ISA
