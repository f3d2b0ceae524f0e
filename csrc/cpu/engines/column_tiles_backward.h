// Gradients of sets that are columns of (outer, rows, columns), with a weight for each row; see
// column_tiles.h. Tiles of columns in slots, each with its own partial gradients of the parameters.
//   grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight
#pragma once

#include "cpu/arithmetic/gradients.h"
#include "cpu/engines/column_tiles.h"

namespace normdrop::NORMDROP_ISA {

// Pointers and statistics are those of the first column; `mean` is null where none was subtracted.
template <class T>
struct ColumnTileGradient {
  const T* grad_output;
  const T* x;
  T* grad_x;
  const double* mean;
  const double* inv_std;
  const wide<T>* weight;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t row_stride;
  MeanFactors factors;
};

// The four arrays of a tile, a row of `width` each; behind mean_g and mean_gx their rounding errors.
struct ColumnTileValues {
  std::int64_t width;
  double* mean;
  double* inv_std;
  double* mean_g;
  double* mean_gx;
  ColumnTileValues(double* scratch, std::int64_t w)
      : width(w),
        mean(scratch),
        inv_std(scratch + w),
        mean_g(scratch + 2 * w),
        mean_gx(scratch + 3 * w) {}
};

// Adds up the columns' sums of g and g * x_hat. `parameters` (null: not wanted) holds the sums for
// grad_weight and grad_bias, one behind the other, and for float64 their rounding errors.
template <class T>
NORMDROP_OUT_OF_LINE void sum_column_tile(const ColumnTileGradient<T>& gradient,
                                          const ColumnTileValues& v, double* parameters) {
  const ColumnTileGradient<T> in = gradient;
  double* mean_g = v.mean_g;
  double* mean_gx = v.mean_gx;
  const double* mean = v.mean;
  const double* inv_std = v.inv_std;
  const std::int64_t errors_at = 2 * v.width;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const T* values = in.x + r * in.row_stride;
    const T* grads = in.grad_output + r * in.row_stride;
    const pack w = splat(in.weight ? static_cast<double>(in.weight[r]) : 1.0);
    running_sums<T> sum_weight{};
    running_sums<T> sum_bias{};
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack grad = load(grads + j, extent);
      const pack x_hat =
          keep(x_hat_of(load(values + j, extent), load(mean + j), load(inv_std + j)), extent);
      const pack g = grad * w;
      add_in_memory<T>(mean_g, errors_at, j, g);
      add_in_memory<T>(mean_gx, errors_at, j, g * x_hat);
      sum_weight = add_product(sum_weight, grad, x_hat);
      sum_bias = add(sum_bias, grad);
    });
    if (parameters == nullptr) continue;
    add_in_memory<T>(parameters, 2 * in.rows, r, total_of(sum_weight));
    add_in_memory<T>(parameters, 2 * in.rows, in.rows + r, total_of(sum_bias));
  }
  fold_errors<T>(mean_g, errors_at, errors_at);
}

// ending_of(r) is the ending (axis.h) of the tile's row r.
template <class T, class EndingOf>
void write_column_tile(const ColumnTileGradient<T>& gradient, const ColumnTileValues& values_of,
                       EndingOf&& ending_of) {
  const ColumnTileGradient<T> in = gradient;
  const ColumnTileValues v = values_of;
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const T* values = in.x + r * in.row_stride;
    const T* grads = in.grad_output + r * in.row_stride;
    T* out = in.grad_x + r * in.row_stride;
    const pack w = splat(in.weight ? static_cast<double>(in.weight[r]) : 1.0);
    auto ending = ending_of(r);
    for_each_pack(in.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + j, extent) * w;
      const pack x_hat = x_hat_of(load(values + j, extent), load(v.mean + j), load(v.inv_std + j));
      const pack centred = centred_gradient(g, x_hat, load(v.mean_g + j), load(v.mean_gx + j));
      const pack gradient = ending.total(0, j, centred * load(v.inv_std + j), extent);
      store(out + j, gradient, extent);
      ending.deliver(0, j, gradient, extent);
    });
  }
}

template <class T, class EndingOf>
void backward_column_tile(const ColumnTileGradient<T>& in, double* parameters,
                          EndingOf&& ending_of) {
  const std::int64_t width = padded(in.columns);
  Scratch<double> scratch(6 * width);
  fill_zero(scratch.data(), 6 * width);
  const ColumnTileValues v(scratch.data(), width);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    v.mean[j] = in.mean ? in.mean[j] : 0.0;
    v.inv_std[j] = in.inv_std[j];
  }
  sum_column_tile(in, v, parameters);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    v.mean_g[j] = in.factors.g == 0.0 ? 0.0 : v.mean_g[j] * in.factors.g;
    v.mean_gx[j] *= in.factors.gx;
  }
  write_column_tile(in, v, ending_of);
}

// The gradient of all columns: `all` is that of outer index 0, with every column.
template <class T>
struct ColumnTilesGradient {
  ColumnTileGradient<T> all;
  std::int64_t outer;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  wide<T>* grad_weight;  // (rows,) or null
  wide<T>* grad_bias;    // (rows,) or null

  ColumnTileGradient<T> tile(std::int64_t index, std::int64_t begin, std::int64_t size) const {
    ColumnTileGradient<T> part = all;
    part.grad_output += index * grad_output_outer_stride + begin;
    part.x += index * x_outer_stride + begin;
    part.grad_x += index * grad_x_outer_stride + begin;
    if (part.mean) part.mean += index * all.columns + begin;
    part.inv_std += index * all.columns + begin;
    part.columns = size;
    return part;
  }
};

template <class T, class Epilogue = NoEpilogue>
void backward_column_tiles(const ColumnTilesGradient<T>& gradient, Epilogue epilogue = {}) {
  const std::int64_t rows = gradient.all.rows;
  const Tiles tiles = plan_tiles(gradient.outer, gradient.all.columns);
  const Slots slots = plan_slots(tiles.count, rows * tiles.width);
  const bool wanted = gradient.grad_weight != nullptr || gradient.grad_bias != nullptr;
  const std::int64_t per_slot = (sizeof(T) == 8 ? 4 : 2) * rows;  // float64: and their errors
  Scratch<double> partial(wanted ? slots.count * per_slot : 0);
  parallel_for(slots.count, slots.rows * rows * tiles.width, [&](std::int64_t slot) {
    double* parameters = wanted ? &partial[slot * per_slot] : nullptr;
    if (wanted) fill_zero(parameters, per_slot);
    for (std::int64_t tile = slots.begin(slot); tile < slots.end(slot, tiles.count); ++tile) {
      const std::int64_t outer = tiles.outer(tile);
      const std::int64_t begin = tiles.begin(tile);
      const std::int64_t size = tiles.size(tile);
      auto worker = epilogue.worker(outer + 1);
      const auto ending_of = [&](std::int64_t r) {
        return worker.template columns<1>(outer, {r * gradient.all.columns + begin, size});
      };
      backward_column_tile(gradient.tile(outer, begin, size), parameters, ending_of);
    }
    if (wanted) fold_errors<T>(parameters, 2 * rows, 2 * rows);
  });
  if (!wanted) return;
  merge_slots<T>(partial.data(), slots.count, per_slot, rows, gradient.grad_weight);
  merge_slots<T>(partial.data() + rows, slots.count, per_slot, rows, gradient.grad_bias);
}

}  // namespace normdrop::NORMDROP_ISA
