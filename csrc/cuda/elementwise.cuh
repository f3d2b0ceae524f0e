// The passes that write: normalised elements, or the gradient of x.
//
// An array is (outer, middle, inner), dense within an outer index. Which normaliser and which
// parameter belong to an element are maps of its three indices, so that rows and channels, forward
// and backward, share these kernels. Where neighbours have different normalisers (columns), a
// thread keeps those of its columns and goes down the rows. `aligned`: all packs are whole vectors on
// their boundaries, and none crosses from one normaliser to the next.
#pragma once

#include "cuda/merge.cuh"

namespace normdrop::NORMDROP_DEVICE {

struct DenseShape {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;

  __host__ __device__ std::int64_t dense() const { return middle * inner; }
  __host__ __device__ std::int64_t packs(int unit) const {
    return outer * ((dense() + unit - 1) / unit);
  }
  // Whether packs are whole, and none crosses from one index of the innermost axis longer than 1 to
  // the next.
  bool in_packs(int unit) const { return (inner == 1 ? middle : inner) % unit == 0; }
};

__device__ __forceinline__ std::int64_t quotient(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) {
    return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
  }
  return a / b;
}

// Of a pack: the indices of its first element.
struct ElementsOfPack {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;
  std::int64_t offset;  // from the start of the outer index
  int count;            // elements of the pack; none: it is beyond the end

  __device__ ElementsOfPack(const DenseShape& shape, std::int64_t pack, int unit) {
    const std::int64_t packs = quotient(shape.dense() + unit - 1, unit);
    outer = quotient(pack, packs);
    offset = (pack - outer * packs) * unit;
    middle = quotient(offset, shape.inner);
    inner = offset - middle * shape.inner;
    const std::int64_t left = outer < shape.outer ? shape.dense() - offset : 0;
    count = static_cast<int>(left < unit ? left : unit);
  }
  __device__ std::int64_t in(const IndexMap& map) const { return map.at(outer, middle, inner); }
  template <int unit>
  __device__ PackPlace place(const DenseShape& shape) const {
    return place_in_warp<unit>(offset, count > 0 ? shape.dense() : 0);
  }
  __device__ void next(const DenseShape& shape) {
    if (++inner < shape.inner) return;
    inner = 0;
    ++middle;
  }
};

// Steps of a map from one element of a pack to the next of the same innermost axis.
__device__ __forceinline__ std::int64_t step_of(const IndexMap& map, const DenseShape& shape) {
  return shape.inner == 1 ? map.second : map.third;
}

// The packs of a thread in an element-wise pass, `block_threads` packs apart.
__device__ __forceinline__ std::int64_t pack_of_thread(int k) {
  return (static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread + k) *
             block_threads +
         threadIdx.x;
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
  IndexMap normaliser_map;
  IndexMap parameter_map;
};

template <class T, bool aligned, bool finite>
__global__ void __launch_bounds__(block_threads) normalise_elements(NormaliseElements<T> a) {
  constexpr int unit = vector_elements<T>;
  const std::int64_t packs = a.shape.packs(unit);
  const std::int64_t step = step_of(a.parameter_map, a.shape);
  const bool has_bias = a.bias.values != nullptr;
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    if (pack_of_thread(k) - lane_in_warp() >= packs) return;  // the whole warp
    ElementsOfPack at(a.shape, pack_of_thread(k), unit);
    const PackPlace place = at.place<unit>(a.shape);
    T* y = a.y + at.outer * a.y_outer_stride + at.offset;
    auto pack = load_pack<T, unit, aligned>(a.x + at.outer * a.x_outer_stride + at.offset, place);
    if (at.count > 0) {
      const Normaliser* normaliser = a.normalisers + at.in(a.normaliser_map);
      Held<T> held = hold<T>(*normaliser);
      std::int64_t parameter = at.in(a.parameter_map);
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        T& element = pack.element[j];
        element = normalised<finite>(element, held, normaliser, a.weight.at(parameter, 1),
                                     a.bias.at(parameter, 0), has_bias);
        parameter += step;
        if (aligned || j + 1 >= at.count) continue;
        at.next(a.shape);
        parameter = at.in(a.parameter_map);
        const Normaliser* next = a.normalisers + at.in(a.normaliser_map);
        if (next != normaliser) held = hold<T>(*next);
        normaliser = next;
      }
    }
    store_pack<T, unit, aligned>(y, pack, place);
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
};

template <class T, int unit, bool aligned, bool finite>
__global__ void __launch_bounds__(column_threads) normalise_columns(NormaliseColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  const PackPlace pack_place = place.pack<unit>(a.plan);
  const bool has_columns = pack_place.after > 0;
  const bool has_bias = a.bias.values != nullptr;
  const Normaliser* first = a.normalisers + place.outer * a.plan.columns + place.column;
  Held<T> held[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) held[j] = has_columns ? hold<T>(first[j]) : Held<T>{};
#pragma unroll 2
  for (std::int64_t row = place.first_row; row < place.end_row; row += column_block_rows) {
    auto pack =
        load_pack<T, unit, aligned>(a.x + a.x_map.at(place.outer, row, place.column), pack_place);
    const std::int64_t parameter = a.parameter_map.at(place.outer, row, place.column);
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (!has_columns) break;
      const std::int64_t at = parameter + j * a.parameter_map.third;
      pack.element[j] = normalised<finite>(pack.element[j], held[j], first + j, a.weight.at(at, 1),
                                           a.bias.at(at, 0), has_bias);
    }
    store_pack<T, unit, aligned>(a.y + a.y_map.at(place.outer, row, place.column), pack,
                                 pack_place);
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
  IndexMap line_map;
  IndexMap parameter_map;
  bool constants;
};

template <class T, bool aligned>
__global__ void __launch_bounds__(block_threads) gradient_elements(GradientElements<T> a) {
  constexpr int unit = vector_elements<T>;
  const std::int64_t packs = a.shape.packs(unit);
  const std::int64_t step = step_of(a.parameter_map, a.shape);
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    if (pack_of_thread(k) - lane_in_warp() >= packs) return;  // the whole warp
    ElementsOfPack at(a.shape, pack_of_thread(k), unit);
    const PackPlace place = at.place<unit>(a.shape);
    T* grad_x = a.grad_x + at.outer * a.grad_x_outer_stride + at.offset;
    auto pack = load_pack<T, unit, aligned>(
        a.grad_output + at.outer * a.grad_output_outer_stride + at.offset, place);
    const auto x = a.constants ? zero_pack<T, unit>()
                               : load_pack<T, unit, aligned>(
                                     a.x + at.outer * a.x_outer_stride + at.offset, place);
    if (at.count > 0) {
      GradientLine line = a.lines[at.in(a.line_map)];
      std::int64_t parameter = at.in(a.parameter_map);
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        T& element = pack.element[j];
        element = gradient(element, x.element[j], line,
                           static_cast<double>(a.weight.at(parameter, 1)), a.constants);
        parameter += step;
        if (aligned || j + 1 >= at.count) continue;
        const std::int64_t before = at.in(a.line_map);
        at.next(a.shape);
        parameter = at.in(a.parameter_map);
        if (at.in(a.line_map) != before) line = a.lines[at.in(a.line_map)];
      }
    }
    store_pack<T, unit, aligned>(grad_x, pack, place);
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
};

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(column_threads) gradient_of_columns(GradientOfColumns<T> a) {
  const ColumnPlace place(a.plan, unit);
  const PackPlace pack_place = place.pack<unit>(a.plan);
  const bool has_columns = pack_place.after > 0;
  GradientLine line[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    const GradientLine* of_column = a.lines + place.outer * a.plan.columns + place.column + j;
    line[j] = has_columns ? *of_column : GradientLine{};
  }
#pragma unroll 2
  for (std::int64_t row = place.first_row; row < place.end_row; row += column_block_rows) {
    auto pack = load_pack<T, unit, aligned>(
        a.grad_output + a.grad_output_map.at(place.outer, row, place.column), pack_place);
    const auto x =
        load_pack<T, unit, aligned>(a.x + a.x_map.at(place.outer, row, place.column), pack_place);
    const std::int64_t parameter = a.parameter_map.at(place.outer, row, place.column);
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (!has_columns) break;
      const std::int64_t at = parameter + j * a.parameter_map.third;
      pack.element[j] = gradient(pack.element[j], x.element[j], line[j],
                                 static_cast<double>(a.weight.at(at, 1)), a.constants);
    }
    store_pack<T, unit, aligned>(a.grad_x + a.grad_x_map.at(place.outer, row, place.column), pack,
                                 pack_place);
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
