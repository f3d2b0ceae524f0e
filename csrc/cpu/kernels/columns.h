// Reductions down the columns of a (rows, columns) block, and the pass that normalises columns.
//
// Rows are read in order and column accumulators stay in L1: a block of rows is one sequential
// read. float32 takes one pass from a centre per column (the mean of the first rows), float64
// two per chunk of rows; see moments.h for why. A column's moments depend on the rows alone.
#pragma once

#include "cpu/kernels/normalise.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
struct Block {
  const T* x;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t row_stride;
  double scale = 1.0;
};

// Per-column accumulators, padded to whole groups.
NORMDROP_INLINE std::int64_t padded(std::int64_t columns) {
  return (columns + group_size - 1) / group_size * group_size;
}

template <bool scaled>
static void column_moments(const Block<float>& in, double* scratch, Moments* out) {
  const std::int64_t width = padded(in.columns);
  double* centre = scratch;
  double* deviation = scratch + width;
  double* square = scratch + 2 * width;
  for (std::int64_t j = 0; j < 3 * width; ++j) scratch[j] = 0.0;

  std::int64_t sample = (in.rows + 15) / 16;
  sample = sample > 16 ? sample : (in.rows < 16 ? in.rows : 16);
  sample = sample < 256 ? sample : 256;
  for (std::int64_t r = 0; r < sample; ++r) {
    const float* x = in.x + r * in.row_stride;
    for_each_group(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      store(centre + j, load(centre + j) + rescale<scaled>(load(x + j, extent), in.scale));
    });
  }
  for (std::int64_t j = 0; j < width; ++j) centre[j] /= static_cast<double>(sample);

  // Four rows at a time: one read and write of the accumulators for all of them.
  std::int64_t r = 0;
  for (; r + 4 <= in.rows; r += 4) {
    const float* x = in.x + r * in.row_stride;
    for_each_group(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const group centres = load(centre + j);
      group deviations = load(deviation + j);
      group squares = load(square + j);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const group d =
            rescale<scaled>(load(x + k * in.row_stride + j, extent), in.scale) - centres;
        deviations = add_by_fma(d, deviations);
        squares = multiply_add(d, d, squares);
      }
      store(deviation + j, deviations);
      store(square + j, squares);
    });
  }
  for (; r < in.rows; ++r) {
    const float* x = in.x + r * in.row_stride;
    for_each_group(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const group d = rescale<scaled>(load(x + j, extent), in.scale) - load(centre + j);
      store(deviation + j, load(deviation + j) + d);
      store(square + j, multiply_add(d, d, load(square + j)));
    });
  }
  const double count = static_cast<double>(in.rows);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    const double offset = deviation[j] / count;
    const double squares = square[j] - deviation[j] * offset;
    out[j] = {count, two_sum(centre[j], offset), squares < 0.0 ? 0.0 : squares};
  }
}

template <bool scaled>
static void column_moments_of_chunk(const Block<double>& in, double* scratch, Moments* out) {
  const std::int64_t width = padded(in.columns);
  double* sum = scratch;
  double* error = scratch + width;
  double* square = scratch + 2 * width;
  for (std::int64_t j = 0; j < 3 * width; ++j) scratch[j] = 0.0;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const double* x = in.x + r * in.row_stride;
    for_each_group(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const exact_sums sums = add(exact_sums{load(sum + j), load(error + j)},
                                  rescale<scaled>(load(x + j, extent), in.scale));
      store(sum + j, sums.sum);
      store(error + j, sums.error);
    });
  }
  const double count = static_cast<double>(in.rows);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    const double_double mean = divide(quick_two_sum(sum[j], error[j]), count);
    sum[j] = mean.high;
    error[j] = mean.low;
  }
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const double* x = in.x + r * in.row_stride;
    for_each_group(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const group value = rescale<scaled>(load(x + j, extent), in.scale);
      const group d = (value - load(sum + j)) - load(error + j);
      store(square + j, multiply_add(d, d, load(square + j)));
    });
  }
  for (std::int64_t j = 0; j < in.columns; ++j) out[j] = {count, {sum[j], error[j]}, square[j]};
}

template <bool scaled>
static void column_moments(const Block<double>& in, double* scratch, Moments* out) {
  const std::int64_t bytes_per_row = in.columns * static_cast<std::int64_t>(sizeof(double));
  std::int64_t rows = cpu::tuning::column_chunk_bytes / bytes_per_row;
  rows = rows < 16 ? 16 : rows;
  const std::int64_t chunks = (in.rows + rows - 1) / rows;
  if (chunks <= 1) return column_moments_of_chunk<scaled>(in, scratch, out);
  Scratch<Moments> chunk(chunks * in.columns);
  for (std::int64_t c = 0; c < chunks; ++c) {
    Block<double> part = in;
    part.x += c * rows * in.row_stride;
    part.rows = in.rows - c * rows < rows ? in.rows - c * rows : rows;
    column_moments_of_chunk<scaled>(part, scratch, &chunk[c * in.columns]);
  }
  for (std::int64_t j = 0; j < in.columns; ++j) out[j] = merge(&chunk[j], chunks, in.columns);
}

NORMDROP_INLINE std::int64_t column_scratch_size(std::int64_t columns) {
  return 3 * padded(columns);
}

// The normalisers of a block's columns as arrays, for the pass that writes them.
class ColumnNormalisers {
 public:
  explicit ColumnNormalisers(std::int64_t columns)
      : width_(padded(columns)), values_(5 * padded(columns)) {
    for (std::int64_t j = 0; j < 5 * width_; ++j) values_[j] = 0.0;
  }
  template <class T>
  void set(std::int64_t j, const Normaliser& n) {
    values_[j] = -n.mean.high;
    values_[width_ + j] = sizeof(T) == 4 ? -n.mean.low * n.inv_std.high : -n.mean.low;
    values_[2 * width_ + j] = n.inv_std.high;
    values_[3 * width_ + j] = n.inv_std.low;
    values_[4 * width_ + j] = n.scale;
    scaled_ = scaled_ || n.scale != 1.0;
  }
  // float32 with one weight and bias per column: x^ * weight + bias becomes (x - mean) * slope +
  // shift, one multiply-add instead of two.
  void fold(std::int64_t j, double weight, double bias) {
    values_[width_ + j] = values_[width_ + j] * weight + bias;
    values_[2 * width_ + j] *= weight;
  }
  NormaliserGroups groups(std::int64_t j) const {
    const double* v = values_.data() + j;
    return {load(v), load(v + width_), load(v + 2 * width_), load(v + 3 * width_)};
  }
  group scales(std::int64_t j) const { return load(values_.data() + 4 * width_ + j); }
  bool scaled() const { return scaled_; }

 private:
  std::int64_t width_;
  Scratch<double> values_;
  bool scaled_ = false;
};

// weight_at(j, extent) and bias_at(j, extent) give the parameters of the columns from j on.
template <bool scaled, class T, class WeightAt, class BiasAt>
NORMDROP_INLINE void normalise_columns(const T* x, T* y, std::int64_t columns,
                                       const ColumnNormalisers& n, WeightAt&& weight_at,
                                       BiasAt&& bias_at) {
  for_each_group(columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    group value = load(x + j, extent);
    if constexpr (scaled) value = value * n.scales(j);
    const normalised high_low = normalise<T>(value, n.groups(j));
    store(y + j, affine<T, true, true>(high_low, weight_at(j, extent), bias_at(j, extent)),
          extent);
  });
}

template <class T, class WeightAt, class BiasAt>
NORMDROP_INLINE void normalise_columns(const T* x, T* y, std::int64_t columns,
                                       const ColumnNormalisers& n, WeightAt&& weight_at,
                                       BiasAt&& bias_at) {
  if (n.scaled()) {
    normalise_columns<true>(x, y, columns, n, weight_at, bias_at);
  } else {
    normalise_columns<false>(x, y, columns, n, weight_at, bias_at);
  }
}

// Columns whose weight and bias were folded in.
NORMDROP_INLINE void normalise_folded_columns(const float* x, float* y, std::int64_t columns,
                                              const ColumnNormalisers& n) {
  for_each_group(columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    store(y + j, normalise<float>(load(x + j, extent), n.groups(j)).high, extent);
  });
}

}  // namespace normdrop::NORMDROP_ISA
