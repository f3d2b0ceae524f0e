// The scalars of several short rows at once, so that their divisions and square roots overlap. A
// row's bits do not depend on which rows share its batch. Not for float64.
#pragma once

#include "cpu/arithmetic/moments.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr int rows_at_once = cpu::tuning::short_rows_at_once;

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

  template <class Length>
  NORMDROP_LAMBDA_INLINE void finish(std::int64_t rows, Length length, double eps) {
    const double count = static_cast<double>(length.length);
    const auto finish_row = [&](std::int64_t r) NORMDROP_LAMBDA_INLINE {
      const MeanParts mean = mean_about(centre_[r], total_[r], count);
      offset_[r] = mean.offset;
      rest_[r] = mean.rest;
      var_[r] = squares_about_mean(square_[r], total_[r], mean.offset) / count;
      const double sum = var_[r] + eps;
      inv_std_[r] = sum == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(sum);
    };
    if constexpr (Length::is_short) {
#pragma omp simd
      for (int r = 0; r < rows_at_once; ++r) finish_row(r);
    } else {
      for (std::int64_t r = 0; r < rows; ++r) finish_row(r);
    }
  }

  double var(std::int64_t r) const { return var_[r]; }
  double inv_std(std::int64_t r) const { return inv_std_[r]; }
  MeanParts mean(std::int64_t r) const { return {centre_[r], offset_[r], rest_[r]}; }

 private:
  double centre_[rows_at_once] = {};
  double total_[rows_at_once] = {};
  double square_[rows_at_once] = {};
  double offset_[rows_at_once];
  double rest_[rows_at_once];
  double var_[rows_at_once];
  double inv_std_[rows_at_once];
};

template <>
class ScalarsOfRows<Squares> {
 public:
  template <class T, class Length>
  NORMDROP_LAMBDA_INLINE void add(std::int64_t r, const T* x, Length length) {
    square_[r] = square_sum(Runs<T>{x, 1, length.length, 0}, length);
  }

  template <class Length>
  NORMDROP_LAMBDA_INLINE void finish(std::int64_t rows, Length length, double eps) {
    const double count = static_cast<double>(length.length);
    const auto finish_row = [&](std::int64_t r) NORMDROP_LAMBDA_INLINE {
      square_[r] /= count;
      const double sum = square_[r] + eps;
      inv_std_[r] = sum == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(sum);
    };
    if constexpr (Length::is_short) {
#pragma omp simd
      for (int r = 0; r < rows_at_once; ++r) finish_row(r);
    } else {
      for (std::int64_t r = 0; r < rows; ++r) finish_row(r);
    }
  }

  double var(std::int64_t r) const { return square_[r]; }
  double inv_std(std::int64_t r) const { return inv_std_[r]; }
  MeanParts mean(std::int64_t) const { return {0.0, 0.0, 0.0}; }

 private:
  double square_[rows_at_once] = {};
  double inv_std_[rows_at_once];
};

}  // namespace normdrop::NORMDROP_ISA
