// Mean and sum of squared deviations of the columns of a (rows, columns) block.
//
// Rows are read in order and column accumulators stay in L1: a block of rows is one sequential
// read. float32 takes one pass from a centre per column (the mean of the first rows), float64
// two per chunk of rows; see moments.h for why. A column's moments depend on the rows alone.
#pragma once

#include "cpu/arithmetic/moments.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
struct Block {
  const T* x;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t row_stride;
};

// float32: each column's centre, from its first rows: the median of the means of every third row,
// which one outlier cannot move. With at least 1 row in 4096 it lies within about 110 standard
// deviations of the column's mean, which costs at most 14 of 53 bits.
template <class T>
NORMDROP_OUT_OF_LINE void column_centres(const Block<T>& block, double* centre) {
  const Block<T> in = block;
  const std::int64_t width = padded(in.columns);
  const std::int64_t share = in.rows / cpu::tuning::rows_per_centre_row;
  std::int64_t rows = share > cpu::tuning::centre_rows ? share : cpu::tuning::centre_rows;
  rows = rows < in.rows ? rows : in.rows;
  const std::int64_t parts_of_sample = rows < 3 ? 1 : 3;
  Scratch<double> sums(3 * width);
  for (std::int64_t j = 0; j < 3 * width; ++j) sums[j] = 0.0;
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* x = in.x + r * in.row_stride;
    double* sum = sums.data() + r % parts_of_sample * width;
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      store(sum + j, load(sum + j) + load(x + j, extent));
    });
  }
  const double* sum[3];
  double count[3];
  for (std::int64_t k = 0; k < 3; ++k) {
    const std::int64_t part = k % parts_of_sample;
    sum[k] = sums.data() + part * width;
    count[k] = static_cast<double>((rows - part + parts_of_sample - 1) / parts_of_sample);
  }
#pragma omp simd
  for (std::int64_t j = 0; j < in.columns; ++j) {
    const double a = sum[0][j] / count[0];
    const double b = sum[1][j] / count[1];
    const double c = sum[2][j] / count[2];
    const double low = a < b ? a : b;
    const double high = a < b ? b : a;
    const double at_most = c > high ? high : c;
    centre[j] =
        static_cast<float>(c < low ? low : at_most);  // deviations from few digits are exact
  }
  for (std::int64_t j = in.columns; j < width; ++j) centre[j] = 0.0;
}

// Adds K rows to the columns' sums of deviations and of their squares.
template <int K, class T>
NORMDROP_INLINE void add_deviations(const T* x, std::int64_t row_stride, std::int64_t columns,
                                    const double* centre, double* total, double* square) {
  for_each_pack(columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    const pack centres = load(centre + j);
    pack totals = load(total + j);
    pack squares = load(square + j);
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) {
      const pack d = load(x + k * row_stride + j, extent) - centres;
      totals = add_by_fma(d, totals);
      squares = multiply_add(d, d, squares);
    }
    store(total + j, totals);
    store(square + j, squares);
  });
}

// total and square hold padded(columns) doubles each. Blocks of 64 rows are summed apart and then
// added, the totals with their rounding errors: a long column does not lose digits.
template <class T>
NORMDROP_OUT_OF_LINE void column_deviations(const Block<T>& block, const double* centre,
                                            double* total, double* square) {
  constexpr std::int64_t rows_of_block = cpu::tuning::rows_added_apart;
  constexpr int rows_together = is_fallback ? 2 : 8;
  const Block<T> in = block;
  const std::int64_t width = padded(in.columns);
  Scratch<double> scratch(3 * width);
  double* block_total = scratch.data();
  double* block_square = block_total + width;
  double* error = block_total + 2 * width;
  for (std::int64_t j = 0; j < width; ++j) total[j] = square[j] = error[j] = 0.0;
  for (std::int64_t first = 0; first < in.rows; first += rows_of_block) {
    const std::int64_t end = in.rows - first < rows_of_block ? in.rows : first + rows_of_block;
    for (std::int64_t j = 0; j < 2 * width; ++j) block_total[j] = 0.0;
    const T* x = in.x + first * in.row_stride;
    std::int64_t r = first;
    for (; r + rows_together <= end; r += rows_together, x += rows_together * in.row_stride) {
      add_deviations<rows_together>(x, in.row_stride, in.columns, centre, block_total,
                                    block_square);
    }
    for (; r < end; ++r, x += in.row_stride) {
      add_deviations<1>(x, in.row_stride, in.columns, centre, block_total, block_square);
    }
    for (std::int64_t j = 0; j < width; j += pack_size) {
      const exact_sums sums =
          add(exact_sums{load(total + j), load(error + j)}, load(block_total + j));
      store(total + j, sums.sum);
      store(error + j, sums.error);
      store(square + j, load(square + j) + load(block_square + j));
    }
  }
  for (std::int64_t j = 0; j < width; ++j) total[j] += error[j];
}

template <class T>
NORMDROP_OUT_OF_LINE void column_moments(const Block<T>& in, double* scratch, Moments* out) {
  const std::int64_t width = padded(in.columns);
  column_centres(in, scratch);
  column_deviations(in, scratch, scratch + width, scratch + 2 * width);
  const double count = static_cast<double>(in.rows);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    out[j] = moments_about(scratch[j], scratch[width + j], scratch[2 * width + j], count);
  }
}

// scratch: four rows of padded(columns). A column's sums run down all rows in one lane, so both
// are compensated.
NORMDROP_OUT_OF_LINE inline void column_moments_of_chunk(const Block<double>& block,
                                                         double* scratch, Moments* out) {
  const Block<double> in = block;
  const std::int64_t width = padded(in.columns);
  double* sum = scratch;
  double* error = scratch + width;
  double* square = scratch + 2 * width;
  double* square_error = scratch + 3 * width;
  const auto add_to = [](double* high, double* low, std::int64_t j, pack value)
                          NORMDROP_LAMBDA_INLINE {
    const exact_sums sums = add(exact_sums{load(high + j), load(low + j)}, value);
    store(high + j, sums.sum);
    store(low + j, sums.error);
  };
  for (std::int64_t j = 0; j < 4 * width; ++j) scratch[j] = 0.0;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const double* x = in.x + r * in.row_stride;
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      add_to(sum, error, j, load(x + j, extent));
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
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack d = (load(x + j, extent) - load(sum + j)) - load(error + j);
      add_to(square, square_error, j, d * d);
    });
  }
  for (std::int64_t j = 0; j < in.columns; ++j) {
    out[j] = {count, {sum[j], error[j]}, square[j] + square_error[j]};
  }
}

NORMDROP_OUT_OF_LINE inline void column_moments(const Block<double>& in, double* scratch,
                                                Moments* out) {
  const std::int64_t bytes_per_row = in.columns * static_cast<std::int64_t>(sizeof(double));
  std::int64_t rows = cpu::tuning::column_chunk_bytes / bytes_per_row;
  rows = rows < 16 ? 16 : rows;
  const std::int64_t chunks = (in.rows + rows - 1) / rows;
  if (chunks <= 1) return column_moments_of_chunk(in, scratch, out);
  Scratch<Moments> chunk(chunks * in.columns);
  for (std::int64_t c = 0; c < chunks; ++c) {
    Block<double> part = in;
    part.x += c * rows * in.row_stride;
    part.rows = in.rows - c * rows < rows ? in.rows - c * rows : rows;
    column_moments_of_chunk(part, scratch, &chunk[c * in.columns]);
  }
  for (std::int64_t j = 0; j < in.columns; ++j) out[j] = merge(&chunk[j], chunks, in.columns);
}

template <class T>
void column_parts(const Block<T>& in, double* scratch, Moments* out) {
  column_moments(in, scratch, out);
}

NORMDROP_INLINE std::int64_t column_scratch_size(std::int64_t columns) {
  return 4 * padded(columns);
}

}  // namespace normdrop::NORMDROP_ISA
