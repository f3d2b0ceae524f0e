// The passes that write: normalised elements, or the gradient of x.
//
// An array is (outer, middle, inner), dense within an outer index. Which normaliser and which
// parameter belong to an element are maps of its three indices, so that rows and channels, forward
// and backward, share these kernels. Where neighbours have different normalisers (columns), a
// thread keeps those of its columns and goes down the rows.
#pragma once

#include "cuda/merge.cuh"

namespace normdrop::NORMDROP_DEVICE {

struct DenseShape {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;

  __host__ __device__ std::int64_t dense() const { return middle * inner; }
  // Packs must not cross from one index of the innermost axis longer than 1 to the next.
  std::int64_t pack_axis() const { return inner == 1 ? middle : inner; }
};

__device__ __forceinline__ std::int64_t quotient(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) {
    return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
  }
  return a / b;
}

// An element's place, counted in packs of `unit`.
struct Place {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;
  std::int64_t offset;  // from the start of the outer index

  __device__ Place(const DenseShape& shape, std::int64_t pack, int unit) {
    const std::int64_t packs = quotient(shape.dense(), unit);
    outer = quotient(pack, packs);
    offset = (pack - outer * packs) * unit;
    middle = quotient(offset, shape.inner);
    inner = offset - middle * shape.inner;
  }
  __device__ std::int64_t in(const IndexMap& map) const { return map.at(outer, middle, inner); }
};

// Steps of a map from one element of a pack to the next.
__device__ __forceinline__ std::int64_t step_of(const IndexMap& map, const DenseShape& shape) {
  return shape.inner == 1 ? map.second : map.third;
}

template <class T>
struct NormaliseElements {
  const T* x;
  T* y;
  const Normaliser* normalisers;
  Parameter<T> weight;
  Parameter<T> bias;
  DenseShape shape;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
  IndexMap normaliser_map;  // constant within a pack
  IndexMap parameter_map;
  bool aligned;
};

template <class T, int unit, bool finite>
__global__ void __launch_bounds__(block_threads) normalise_elements(NormaliseElements<T> a) {
  const std::int64_t packs = a.shape.outer * a.shape.dense() / unit;
  const std::int64_t step = step_of(a.parameter_map, a.shape);
  const bool has_bias = a.bias.values != nullptr;
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    const std::int64_t p =
        (static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread + k) *
            block_threads +
        threadIdx.x;
    if (p >= packs) return;
    const Place place(a.shape, p, unit);
    const auto x =
        load_pack<T, unit>(a.x + place.outer * a.x_outer_stride + place.offset, a.aligned);
    const Normaliser* normaliser = a.normalisers + place.in(a.normaliser_map);
    const Held<T> held = hold<T>(*normaliser);
    const std::int64_t parameter = place.in(a.parameter_map);
    Pack<T, unit> y;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      const std::int64_t at = parameter + j * step;
      y.element[j] = normalised<finite>(x.element[j], held, normaliser, a.weight.at(at, 1),
                                        a.bias.at(at, 0), has_bias);
    }
    store_pack<T, unit>(a.y + place.outer * a.y_outer_stride + place.offset, y, a.aligned);
  }
}

template <class T>
struct NormaliseColumns {
  const T* x;
  T* y;
  const Normaliser* normalisers;  // (outer, columns)
  Parameter<T> weight;
  Parameter<T> bias;
  IndexMap x_map;
  IndexMap y_map;
  IndexMap parameter_map;
  ColumnPlan plan;  // slots of column_pass_rows rows
  bool aligned;
};

template <class T, int unit, bool finite>
__global__ void __launch_bounds__(column_threads) normalise_columns(NormaliseColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  if (place.column >= a.plan.columns) return;
  const bool has_bias = a.bias.values != nullptr;
  const Normaliser* first = a.normalisers + place.outer * a.plan.columns + place.column;
  Held<T> held[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) held[j] = hold<T>(first[j]);
#pragma unroll 2
  for (std::int64_t row = place.first_row; row < place.end_row; row += column_block_rows) {
    const auto x = load_pack<T, unit>(a.x + a.x_map.at(place.outer, row, place.column), a.aligned);
    const std::int64_t parameter = a.parameter_map.at(place.outer, row, place.column);
    Pack<T, unit> y;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      const std::int64_t at = parameter + j * a.parameter_map.third;
      y.element[j] = normalised<finite>(x.element[j], held[j], first + j, a.weight.at(at, 1),
                                        a.bias.at(at, 0), has_bias);
    }
    store_pack<T, unit>(a.y + a.y_map.at(place.outer, row, place.column), y, a.aligned);
  }
}

// ((g - mean_g) - x^ * mean_gx) * factor; with constant statistics g * factor whatever x is.
template <class T>
__device__ __forceinline__ T gradient(T grad_output, T x, const GradientLine& line, double weight,
                                      bool constants) {
  double g = static_cast<double>(arithmetic(grad_output)) * weight;
  if (!constants) {
    const double x_hat = (static_cast<double>(arithmetic(x)) - line.mean) * line.inv_std;
    g = (g - line.mean_g) - x_hat * line.mean_gx;
  }
  return rounded<T>(g * line.factor);
}

template <class T>
struct GradientElements {
  const T* grad_output;
  const T* x;
  T* grad_x;
  const GradientLine* lines;
  Parameter<T> weight;
  DenseShape shape;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  IndexMap line_map;  // constant within a pack
  IndexMap parameter_map;
  bool constants;
  bool aligned;
};

template <class T, int unit>
__global__ void __launch_bounds__(block_threads) gradient_elements(GradientElements<T> a) {
  const std::int64_t packs = a.shape.outer * a.shape.dense() / unit;
  const std::int64_t step = step_of(a.parameter_map, a.shape);
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    const std::int64_t p =
        (static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread + k) *
            block_threads +
        threadIdx.x;
    if (p >= packs) return;
    const Place place(a.shape, p, unit);
    const auto grad = load_pack<T, unit>(
        a.grad_output + place.outer * a.grad_output_outer_stride + place.offset, a.aligned);
    const auto x =
        a.constants
            ? zero_pack<T, unit>()
            : load_pack<T, unit>(a.x + place.outer * a.x_outer_stride + place.offset, a.aligned);
    const GradientLine line = a.lines[place.in(a.line_map)];
    const std::int64_t parameter = place.in(a.parameter_map);
    Pack<T, unit> result;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      result.element[j] =
          gradient(grad.element[j], x.element[j], line,
                   static_cast<double>(a.weight.at(parameter + j * step, 1)), a.constants);
    }
    store_pack<T, unit>(a.grad_x + place.outer * a.grad_x_outer_stride + place.offset, result,
                        a.aligned);
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
  bool aligned;
};

template <class T, int unit>
__global__ void __launch_bounds__(column_threads) gradient_of_columns(GradientOfColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  if (place.column >= a.plan.columns) return;
  GradientLine line[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    line[j] = a.lines[place.outer * a.plan.columns + place.column + j];
  }
#pragma unroll 2
  for (std::int64_t row = place.first_row; row < place.end_row; row += column_block_rows) {
    const auto grad = load_pack<T, unit>(
        a.grad_output + a.grad_output_map.at(place.outer, row, place.column), a.aligned);
    const auto x = load_pack<T, unit>(a.x + a.x_map.at(place.outer, row, place.column), a.aligned);
    const std::int64_t parameter = a.parameter_map.at(place.outer, row, place.column);
    Pack<T, unit> result;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      const std::int64_t at = parameter + j * a.parameter_map.third;
      result.element[j] = gradient(grad.element[j], x.element[j], line[j],
                                   static_cast<double>(a.weight.at(at, 1)), a.constants);
    }
    store_pack<T, unit>(a.grad_x + a.grad_x_map.at(place.outer, row, place.column), result,
                        a.aligned);
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
