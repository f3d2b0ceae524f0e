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
  // Whether packs are whole, and none crosses from one index of the innermost axis longer than 1 to
  // the next.
  bool in_packs(int unit) const { return (inner == 1 ? middle : inner) % unit == 0; }
};

// Division by a number that is known at launch: a multiplication, where the dividend has 31 bits
// (Granlund, Montgomery 1994).
class Quotient {
 public:
  explicit Quotient(std::int64_t divisor) : divisor_(divisor) {
    if (divisor >> 31 != 0) return;
    while (std::int64_t{1} << (shift_ - 31) < divisor) ++shift_;
    const std::uint64_t power = std::uint64_t{1} << shift_;
    const auto d = static_cast<std::uint64_t>(divisor);
    factor_ = static_cast<std::uint32_t>((power + d - 1) / d);
  }
  __device__ __forceinline__ std::int64_t of(std::int64_t dividend) const {
    if (dividend >> 31 != 0 || factor_ == 0) return dividend / divisor_;
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(dividend) * factor_ >> shift_);
  }

 private:
  std::int64_t divisor_;
  std::uint32_t factor_ = 0;  // ceil(2^shift / divisor), or 0: not at hand
  int shift_ = 31;
};

// (outer, middle, inner) in packs that begin anew with each outer index.
struct ShapeInPacks {
  DenseShape shape;
  std::int64_t packs_of_outer;
  Quotient by_packs;
  Quotient by_inner;

  ShapeInPacks(const DenseShape& dense, int unit)
      : shape(dense),
        packs_of_outer(divided_up(dense.dense(), unit)),
        by_packs(packs_of_outer),
        by_inner(dense.inner) {}
  std::int64_t packs() const { return shape.outer * packs_of_outer; }
};

// Of a pack: the indices of its first element.
struct ElementsOfPack {
  std::int64_t outer;
  std::int64_t middle;
  std::int64_t inner;
  std::int64_t offset;  // from the start of the outer index
  int count;            // elements of the pack; none: it is beyond the end

  __device__ __forceinline__ ElementsOfPack(const ShapeInPacks& in, std::int64_t pack, int unit) {
    outer = in.by_packs.of(pack);
    offset = (pack - outer * in.packs_of_outer) * unit;
    middle = in.by_inner.of(offset);
    inner = offset - middle * in.shape.inner;
    const std::int64_t left = outer < in.shape.outer ? in.shape.dense() - offset : 0;
    count = static_cast<int>(left < unit ? left : unit);
  }
  __device__ std::int64_t in(const IndexMap& map) const { return map.at(outer, middle, inner); }
  template <int unit>
  __device__ PackPlace place(const DenseShape& shape) const {
    return place_in_warp<unit>(offset, count > 0 ? shape.dense() : 0);
  }
  // Whether the pack stays within one index of the innermost axis longer than 1.
  __device__ bool stays(const DenseShape& shape, int unit) const {
    return shape.inner == 1 || inner + unit <= shape.inner;
  }
  __device__ void next(const DenseShape& shape) {
    if (++inner < shape.inner) return;
    inner = 0;
    ++middle;
  }
};

// Parameters of a pack that stays within an index.
template <class T, int unit>
__device__ __forceinline__ void load_parameters(const Parameter<T>& parameter, const IndexMap& map,
                                                const DenseShape& shape, const ElementsOfPack& at,
                                                Arithmetic<T> otherwise, bool aligned,
                                                Arithmetic<T> (&out)[unit]) {
  if (shape.inner == 1 && map.second == 1) {
    parameter.load(at.in(map), at.count, otherwise, aligned, out);
  } else {
    fill(out, parameter.at(at.in(map), otherwise));
  }
}

// The packs of a thread in an element-wise pass, `block_threads` packs apart.
inline constexpr int packs_per_thread = cuda_tuning::packs_per_thread;
__device__ __forceinline__ std::int64_t pack_of_thread(int k) {
  return (static_cast<std::int64_t>(blockIdx.x) * packs_per_thread + k) * block_threads +
         threadIdx.x;
}

template <class T>
struct NormaliseElements {
  const T* x;
  T* y;
  const Normaliser* normalisers;
  Parameter<T> weight;
  Parameter<T> bias;
  ShapeInPacks in;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
  IndexMap normaliser_map;
  IndexMap parameter_map;
  bool parameters_aligned;
};

// Elements of a pack that crosses from one normaliser to the next.
template <bool finite, class T, int unit>
__device__ __forceinline__ void normalise_across(Pack<T, unit>& pack, ElementsOfPack at,
                                                 const NormaliseElements<T>& a) {
  const bool has_bias = a.bias.values != nullptr;
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= at.count) break;
    const Normaliser* normaliser = a.normalisers + at.in(a.normaliser_map);
    const std::int64_t parameter = at.in(a.parameter_map);
    pack.set(j, normalised<finite>(pack[j], hold<T>(*normaliser), normaliser,
                                   a.weight.at(parameter, 1), a.bias.at(parameter, 0), has_bias));
    at.next(a.in.shape);
  }
}

template <class T, bool aligned, bool finite>
__global__ void __launch_bounds__(block_threads) normalise_elements(NormaliseElements<T> a) {
  constexpr int unit = vector_elements<T>;
  Pack<T, unit> pack[packs_per_thread];
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    pack[k] = load_pack<T, unit, aligned>(a.x + at.outer * a.x_outer_stride + at.offset,
                                          at.place<unit>(a.in.shape));
  }
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    if (at.count > 0) {
      if (aligned || at.stays(a.in.shape, unit)) {
        const Normaliser* normaliser = a.normalisers + at.in(a.normaliser_map);
        Arithmetic<T> weight[unit];
        Arithmetic<T> bias[unit];
        load_parameters(a.weight, a.parameter_map, a.in.shape, at, 1, a.parameters_aligned, weight);
        load_parameters(a.bias, a.parameter_map, a.in.shape, at, 0, a.parameters_aligned, bias);
        normalise_pack<finite>(pack[k], hold<T>(*normaliser), normaliser, weight, bias,
                               a.bias.values != nullptr);
      } else {
        normalise_across<finite>(pack[k], at, a);
      }
    }
    store_pack<T, unit, aligned>(a.y + at.outer * a.y_outer_stride + at.offset, pack[k],
                                 at.place<unit>(a.in.shape));
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

// A column's parameters, or those of a row, for every column of a thread.
template <class T, int unit>
__device__ __forceinline__ void load_parameters(const Parameter<T>& parameter, const IndexMap& map,
                                                const ColumnPlace& place, std::int64_t row,
                                                Arithmetic<T> otherwise,
                                                Arithmetic<T> (&out)[unit]) {
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
  const Normaliser* first = a.normalisers + place.outer * a.plan.columns + place.column;
  Held<T> held[unit];
  Arithmetic<T> weight[unit] = {};
  Arithmetic<T> bias[unit] = {};
#pragma unroll
  for (int j = 0; j < unit; ++j) held[j] = has_columns ? hold<T>(first[j]) : Held<T>{};
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
          pack[k].set(
              j, normalised<finite>(pack[k][j], held[j], first + j, weight[j], bias[j], has_bias));
        }
      }
      store_pack<T, unit, aligned>(a.y + a.y_map.at(place.outer, r, place.column), pack[k],
                                   place.pack<unit>(a.plan, r));
    }
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
  ShapeInPacks in;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  IndexMap line_map;
  IndexMap parameter_map;
  bool parameters_aligned;
  bool constants;
};

// Elements of a pack that crosses from one line to the next.
template <class T, int unit>
__device__ __forceinline__ void gradient_across(Pack<T, unit>& pack, const Pack<T, unit>& x,
                                                ElementsOfPack at, const GradientElements<T>& a) {
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= at.count) break;
    pack.set(j, gradient(pack[j], x[j], a.lines[at.in(a.line_map)],
                         static_cast<double>(a.weight.at(at.in(a.parameter_map), 1)), a.constants));
    at.next(a.in.shape);
  }
}

template <class T, bool aligned>
__global__ void __launch_bounds__(block_threads) gradient_elements(GradientElements<T> a) {
  constexpr int unit = vector_elements<T>;
  Pack<T, unit> pack[packs_per_thread];
  Pack<T, unit> x[packs_per_thread];
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    const PackPlace place = at.place<unit>(a.in.shape);
    pack[k] = load_pack<T, unit, aligned>(
        a.grad_output + at.outer * a.grad_output_outer_stride + at.offset, place);
    x[k] = a.constants
               ? zero_pack<T, unit>()
               : load_pack<T, unit, aligned>(a.x + at.outer * a.x_outer_stride + at.offset, place);
  }
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    if (at.count > 0) {
      if (aligned || at.stays(a.in.shape, unit)) {
        const GradientLine line = a.lines[at.in(a.line_map)];
        Arithmetic<T> weight[unit];
        load_parameters(a.weight, a.parameter_map, a.in.shape, at, 1, a.parameters_aligned, weight);
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(
              j, gradient(pack[k][j], x[k][j], line, static_cast<double>(weight[j]), a.constants));
        }
      } else {
        gradient_across(pack[k], x[k], at, a);
      }
    }
    store_pack<T, unit, aligned>(a.grad_x + at.outer * a.grad_x_outer_stride + at.offset, pack[k],
                                 at.place<unit>(a.in.shape));
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
#pragma unroll
    for (int k = 0; k < rows_at_once; ++k) {
      const std::int64_t r = row + k * column_block_rows;
      if (has_columns && r < place.end_row) {
        Arithmetic<T> weight[unit];
        load_parameters(a.weight, a.parameter_map, place, r, 1, weight);
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(j, gradient(pack[k][j], x[k][j], line[j], static_cast<double>(weight[j]),
                                  a.constants));
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
