// How the norms over an axis go. Rows (inner == 1) that stay on chip, in the registers or the
// shared memory of a block or a cluster, are read once. Longer ones are cut into chunks over many
// blocks and read twice, as are columns (inner > 1), which need no transpose.
#pragma once

#include "cuda/engines/axis_forward.cuh"
#include "cuda/engines/rows.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T, class Prologue>
NormaliseRows<T, Prologue, ParametersOfElements<T>> rows_of(const AxisForward<T>& a,
                                                            const Prologue& prologue) {
  return {.prologue = prologue,
          .y = a.arrays.y,
          .parameters = ParametersOfElements<T>(a.arrays.weight, a.arrays.bias),
          .rows = a.outer,
          .length = a.reduced,
          .divisor = Divisor(static_cast<double>(a.reduced)),
          .y_rows = rows_apart(a.y_outer_stride),
          .eps = a.arrays.measure.eps,
          .statistics = a.arrays.statistics};
}

template <class T>
bool rows_in_vectors(const AxisForward<T>& a) {
  constexpr int unit = vector_elements<T>;
  return a.reduced % unit == 0 && packs_lie_aligned<T>(a.arrays.x, a.x_outer_stride, unit) &&
         packs_lie_aligned<T>(a.arrays.y, a.y_outer_stride, unit);
}

template <class Statistic, class T>
void forward_over_axis(const AxisForward<T>& a) {
  if (a.inner > 1) {
    return forward_of_columns<T>(
        a.arrays, {.outer = a.outer,
                   .rows = a.reduced,
                   .columns = a.inner,
                   .x_map = {.first = a.x_outer_stride, .second = a.inner, .third = 1},
                   .y_map = {.first = a.y_outer_stride, .second = a.inner, .third = 1},
                   .parameter_map = {.second = 1}});
  }
  const ChunkSpread spread = spread_of_row<T>(a.reduced);
  if (spread.blocks > 0) {
    const auto rows = rows_of(a, FromArray<T>{a.arrays.x, rows_apart(a.x_outer_stride)});
    return for_either(rows_in_vectors(a), [&](auto aligned) {
      launch_rows<Statistic, aligned.is>(rows, spread, a.arrays.stream);
    });
  }
  forward_of_runs<T>(a.arrays, {.sets = a.outer,
                                .runs = 1,
                                .length = a.reduced,
                                .x_map = {.first = a.x_outer_stride, .third = 1},
                                .shape = {a.outer, a.reduced, 1},
                                .x_outer_stride = a.x_outer_stride,
                                .y_outer_stride = a.y_outer_stride,
                                .normaliser_map = {.first = 1},
                                .parameter_map = {.second = 1}});
}

}  // namespace normdrop::NORMDROP_DEVICE
