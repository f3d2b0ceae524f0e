// Sums of squares down the columns of a (rows, columns) block.
#pragma once

#include "cpu/arithmetic/column_moments.h"

namespace normdrop::NORMDROP_ISA {

// `scratch` (column_scratch_size) holds the sums and, behind them, their rounding errors: equal squares
// of float64 all round alike; in the other types a long column would lose its last digits.
template <class T>
NORMDROP_OUT_OF_LINE void column_parts(const Block<T>& block, double* scratch, Squares* out) {
  const Block<T> in = block;
  const std::int64_t width = padded(in.columns);
  double* sum = scratch;
  double* error = scratch + width;
  for (std::int64_t j = 0; j < 2 * width; ++j) scratch[j] = 0.0;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const T* x = in.x + r * in.row_stride;
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack value = load(x + j, extent);
      const exact_sums sums = add(exact_sums{load(sum + j), load(error + j)}, value * value);
      store(sum + j, sums.sum);
      store(error + j, sums.error);
    });
  }
  const double count = static_cast<double>(in.rows);
  for (std::int64_t j = 0; j < in.columns; ++j) out[j] = {count, sum[j] + error[j]};
}

}  // namespace normdrop::NORMDROP_ISA
