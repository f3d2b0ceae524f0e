// The passes that write columns, whose neighbours have different normalisers: a thread keeps those
// of its columns and goes down the rows.
#pragma once

#include "cuda/arithmetic/quotient.cuh"
#include "cuda/engines/slots.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct NormaliseColumns {
  const T* x;
  T* y;
  const Normaliser* normalisers;  // (outer, columns / columns_together)
  Quotient columns_together;
  Parameter<T> weight;
  Parameter<T> bias;
  IndexMap x_map;
  IndexMap y_map;
  IndexMap parameter_map;
  ColumnPlan plan;  // slots of column_pass_rows rows
};

// A column's parameters, or those of a row, for every column of a thread.
template <class T, int unit>
__device__ __forceinline__ void load_parameters(const Parameter<T>& parameter, const IndexMap& map,
                                                const ColumnPlace& place, std::int64_t row,
                                                wide<T> otherwise, wide<T> (&out)[unit]) {
  const std::int64_t first = map.at(place.outer, row, place.column);
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    out[j] = j == 0 || map.third != 0 ? parameter.at(first + j * map.third, otherwise) : out[0];
  }
}

template <class T, int unit, bool aligned, bool finite>
__global__ void __launch_bounds__(column_threads, column_blocks_resident)
    normalise_columns(NormaliseColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  const bool has_columns = place.column < a.plan.columns;
  const bool has_bias = a.bias.values != nullptr;
  const Normaliser* of_outer = a.normalisers + place.outer * a.columns_together.of(a.plan.columns);
  const auto normaliser = [&](int j) { return of_outer + a.columns_together.of(place.column + j); };
  Held<T> held[unit];
  wide<T> weight[unit] = {};
  wide<T> bias[unit] = {};
#pragma unroll
  for (int j = 0; j < unit; ++j) held[j] = has_columns ? hold<T>(*normaliser(j)) : Held<T>{};
  if (has_columns && a.parameter_map.second == 0) {
    load_parameters(a.weight, a.parameter_map, place, 0, 1, weight);
    load_parameters(a.bias, a.parameter_map, place, 0, 0, bias);
  }
  for (std::int64_t row = place.first_row; row < place.end_row; row += rows_together) {
    Pack<T, unit> pack[rows_at_once];
    place.load<aligned>(a.x, a.x_map, a.plan, row, pack);
#pragma unroll
    for (int k = 0; k < rows_at_once; ++k) {
      const std::int64_t r = row + k * column_block_rows;
      if (has_columns && r < place.end_row) {
        if (a.parameter_map.second != 0) {
          load_parameters(a.weight, a.parameter_map, place, r, 1, weight);
          load_parameters(a.bias, a.parameter_map, place, r, 0, bias);
        }
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(j, normalised<finite>(pack[k][j], held[j], normaliser(j), weight[j], bias[j],
                                            has_bias));
        }
      }
      store_pack<T, unit, aligned>(a.y + a.y_map.at(place.outer, r, place.column), pack[k],
                                   place.pack<unit>(a.plan, r));
    }
  }
}

template <class T>
struct GradientOfColumns {
  const T* grad_output;
  const T* x;
  T* grad_x;
  const GradientLine* lines;  // (outer, columns)
  Parameter<T> weight;
  IndexMap grad_output_map;
  IndexMap x_map;
  IndexMap grad_x_map;
  IndexMap parameter_map;
  ColumnPlan plan;  // slots of column_pass_rows rows
  bool constants;
  const T* addend;  // or null
  IndexMap addend_map;
};

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(column_threads, column_blocks_resident)
    gradient_of_columns(GradientOfColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  const bool has_columns = place.column < a.plan.columns;
  GradientLine line[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    const GradientLine* of_column = a.lines + place.outer * a.plan.columns + place.column + j;
    line[j] = has_columns ? *of_column : GradientLine{};
  }
  for (std::int64_t row = place.first_row; row < place.end_row; row += rows_together) {
    Pack<T, unit> pack[rows_at_once];
    Pack<T, unit> x[rows_at_once];
    place.load<aligned>(a.grad_output, a.grad_output_map, a.plan, row, pack);
    place.load<aligned>(a.x, a.x_map, a.plan, row, x);
    Pack<T, unit> addend[rows_at_once] = {};
    if (a.addend != nullptr) {
      place.load<aligned>(a.addend, a.addend_map, a.plan, row, addend);
    }
#pragma unroll
    for (int k = 0; k < rows_at_once; ++k) {
      const std::int64_t r = row + k * column_block_rows;
      if (has_columns && r < place.end_row) {
        wide<T> weight[unit];
        load_parameters(a.weight, a.parameter_map, place, r, 1, weight);
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(j, gradient(pack[k][j], x[k][j], line[j], static_cast<double>(weight[j]),
                                  a.constants, addend[k][j]));
        }
      }
      store_pack<T, unit, aligned>(a.grad_x + a.grad_x_map.at(place.outer, r, place.column),
                                   pack[k], place.pack<unit>(a.plan, r));
    }
  }
}

inline ColumnPlan plan_column_pass(std::int64_t outer, std::int64_t rows, std::int64_t columns,
                                   int unit) {
  constexpr std::int64_t per_slot = cuda_tuning::column_pass_rows * column_block_rows;
  return {outer,    rows,
          columns,  divided_up(columns, column_lanes * unit),
          per_slot, divided_up(rows, per_slot)};
}

}  // namespace normdrop::NORMDROP_DEVICE
