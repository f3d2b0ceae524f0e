// Dropout and the sum with a residual, before a norm and behind its gradient:
//   sum = residual + dropout(x), rounded once
// Element (o, r, i) has the word of index ((o * reduced) + r) * inner + i (../../ops/dropout.h).
// Rows that stay on chip make the sum as they are read; else it is made by a pass of its own.
#pragma once

#include "common/philox.h"
#include "cuda/engines/axis_forward_passes.cuh"
#include "ops/dropout.h"

namespace normdrop::NORMDROP_DEVICE {

// The words of neighbouring elements.
class DrawnWords {
 public:
  DrawnWords(const DropoutDraw& draw, const std::uint64_t* device_draw)
      : draw_(draw), device_draw_(device_draw) {}

  // (seed, call) may lie in the device's memory.
  __device__ __forceinline__ void begin() {
    if (device_draw_ == nullptr) return;
    draw_.seed = device_draw_[0];
    draw_.call = device_draw_[1];
  }

  // Of the elements from `element` on. `whole`: they do not share a Philox block with the one
  // before, nor with the one behind; or are half of one.
  template <bool whole, int count>
  __device__ __forceinline__ void load(std::int64_t element, std::uint32_t (&words)[count]) const {
    const std::uint64_t first = draw_.first_index + static_cast<std::uint64_t>(element);
    philox::Block block{};
#pragma unroll
    for (int j = 0; j < count; ++j) {
      const std::uint64_t index = first + static_cast<unsigned>(j);
      const bool begins = whole ? j % 4 == 0 : j == 0 || index % 4 == 0;
      if (begins) block = block_of(index / 4);
      const int in_block = whole && count % 4 == 0 ? j % 4 : static_cast<int>(index % 4);
      words[j] =
          in_block < 2 ? block.word[in_block == 0 ? 0 : 1] : block.word[in_block == 2 ? 2 : 3];
    }
  }
  // Whether packs of a unit from every multiple of it on are whole.
  bool whole(int unit) const {
    return draw_.first_index % static_cast<unsigned>(unit < 4 ? unit : 4) == 0;
  }

  __device__ __forceinline__ bool keeps(std::uint32_t word) const {
    return draw_.threshold != 0 && word <= static_cast<std::uint32_t>(draw_.threshold - 1);
  }

 private:
  __device__ __forceinline__ philox::Block block_of(std::uint64_t number) const {
    const philox::Block counter{
        {static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32),
         static_cast<std::uint32_t>(draw_.call), static_cast<std::uint32_t>(draw_.call >> 32)}};
    return philox::block(counter, static_cast<std::uint32_t>(draw_.seed),
                         static_cast<std::uint32_t>(draw_.seed >> 32));
  }

  DropoutDraw draw_;
  const std::uint64_t* device_draw_;
};

template <class T, bool whole, int unit>
__device__ __forceinline__ Pack<T, unit> dropped_and_added(const Pack<T, unit>& x,
                                                           const Pack<T, unit>& residual,
                                                           const DrawnWords& draw,
                                                           std::int64_t element, wide<T> scale) {
  std::uint32_t words[unit];
  draw.load<whole>(element, words);
  auto sum = zero_pack<T, unit>();
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    const wide<T> kept = draw.keeps(words[j]) ? widened(x[j]) : wide<T>{0};
    sum.set(j, rounded<T>(fma(kept, scale, widened(residual[j]))));
  }
  return sum;
}

template <class T>
struct DropoutAddElements {
  const T* x;
  const T* residual;  // null: 0
  T* sum;
  DrawnWords draw;
  wide<T> scale;
  ShapeInPacks in;
  std::int64_t x_outer_stride;
  std::int64_t residual_outer_stride;
  std::int64_t sum_outer_stride;
};

template <class T, bool aligned>
__global__ void __launch_bounds__(block_threads) dropout_add_elements(DropoutAddElements<T> a) {
  constexpr int unit = vector_elements<T>;
  DrawnWords draw = a.draw;
  draw.begin();
  const ElementsOfPack at(a.in, static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x,
                          unit);
  const PackPlace place = at.place<unit>(a.in.shape);
  const auto x = load_pack<T, unit, aligned, warp_threads, true>(
      a.x + at.outer * a.x_outer_stride + at.offset, place);
  auto residual = zero_pack<T, unit>();
  if (a.residual != nullptr) {
    residual = load_pack<T, unit, aligned, warp_threads, true>(
        a.residual + at.outer * a.residual_outer_stride + at.offset, place);
  }
  const std::int64_t element = at.outer * a.in.shape.dense() + at.offset;
  const auto sum = dropped_and_added<T, false>(x, residual, draw, element, a.scale);
  store_pack<T, unit, aligned>(a.sum + at.outer * a.sum_outer_stride + at.offset, sum, place);
}

template <class T>
void make_sums(const DropoutAddElements<T>& a, void* stream) {
  constexpr int unit = vector_elements<T>;
  const bool in_vectors = a.in.shape.dense() % unit == 0 &&
                          packs_lie_aligned<T>(a.x, a.x_outer_stride, unit) &&
                          packs_lie_aligned<T>(a.residual, a.residual_outer_stride, unit) &&
                          packs_lie_aligned<T>(a.sum, a.sum_outer_stride, unit);
  for_either(in_vectors, [&](auto aligned) {
    launch("dropout_add_elements", dropout_add_elements<T, aligned.is>,
           grid_of(divided_up(a.in.packs(), block_threads), block_threads), stream, a);
  });
}

// The prologue of rows in whole vectors: sums are made, stored and kept.
template <class T>
struct FromDropoutAdd {
  const T* x;
  const T* residual;
  T* sum;
  DrawnWords draw;
  wide<T> scale;
  std::int64_t length;
  std::int64_t x_stride;
  std::int64_t residual_stride;
  std::int64_t sum_stride;

  __device__ __forceinline__ void begin() { draw.begin(); }

  template <class Elements>
  __device__ __forceinline__ void load(Elements& elements, std::int64_t row,
                                       std::int64_t first) const {
    constexpr int unit = Elements::unit;
    constexpr int together = Elements::packs < 4 ? Elements::packs : 4;
    using Packs = typename Elements::Packs;
    const std::int64_t begin = first + Packs::offset(0);
#pragma unroll
    for (int batch = 0; batch < Elements::packs; batch += together) {
      Pack<T, unit> of_x[together];
      Pack<T, unit> of_residual[together];
      const auto place = [&](int i) { return Packs::place(batch + i, elements.length); };
      const auto offset = [&](int i) { return begin + (batch + i) * Elements::stride; };
      load_pairs<true, Packs::lanes, true>(of_x, of_residual, [&](int i) {
        return x + row * x_stride + offset(i);
      }, [&](int i) { return residual + row * residual_stride + offset(i); }, place);
#pragma unroll
      for (int i = 0; i < together; ++i) {
        elements.pack[batch + i] = dropped_and_added<T, true>(of_x[i], of_residual[i], draw,
                                                              row * length + offset(i), scale);
        if (place(i).after <= 0) elements.pack[batch + i] = zero_pack<T, unit>();
        store_pack<T, unit, true>(sum + row * sum_stride + offset(i), elements.pack[batch + i],
                                  place(i));
      }
    }
  }
};

// sum = residual + dropout(x), then the norm of the sum.
template <class T, class Statistic, class Arguments>
void dropout_add_norm(const Arguments& a, const Statistics& statistics) {
  constexpr int unit = vector_elements<T>;
  const AxisForward<T> norm{.arrays = {.x = static_cast<const T*>(a.sum),
                                       .y = static_cast<T*>(a.y),
                                       .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                                       .bias = parameter_of<T>(a.bias, a.parameter_dtype),
                                       .measure = {.centred = Statistic::centred(), .eps = a.eps},
                                       .statistics = statistics,
                                       .stream = a.stream},
                            .outer = a.outer,
                            .reduced = a.reduced,
                            .inner = a.inner,
                            .x_outer_stride = a.sum_outer_stride,
                            .y_outer_stride = a.y_outer_stride};
  const DrawnWords draw(a.draw, a.device_draw);
  const auto* x = static_cast<const T*>(a.x);
  const auto* residual = static_cast<const T*>(a.residual);
  const ChunkSpread spread = spread_of_row<T>(a.reduced);
  if (a.inner == 1 && spread.blocks > 0 && rows_in_vectors(norm) && draw.whole(unit) &&
      packs_lie_aligned<T>(x, a.x_outer_stride, unit) &&
      packs_lie_aligned<T>(residual, a.residual_outer_stride, unit)) {
    const FromDropoutAdd<T> prologue{.x = x,
                                     .residual = residual,
                                     .sum = static_cast<T*>(a.sum),
                                     .draw = draw,
                                     .scale = static_cast<wide<T>>(a.scale),
                                     .length = a.reduced,
                                     .x_stride = a.x_outer_stride,
                                     .residual_stride = a.residual_outer_stride,
                                     .sum_stride = a.sum_outer_stride};
    return launch_rows<Statistic, true>(rows_of(norm, prologue), spread, a.stream);
  }
  make_sums<T>({.x = x,
                .residual = residual,
                .sum = static_cast<T*>(a.sum),
                .draw = draw,
                .scale = static_cast<wide<T>>(a.scale),
                .in = ShapeInPacks({a.outer, a.reduced, a.inner}, unit),
                .x_outer_stride = a.x_outer_stride,
                .residual_outer_stride = a.residual_outer_stride,
                .sum_outer_stride = a.sum_outer_stride},
               a.stream);
  forward_over_axis<Statistic>(norm);
}

}  // namespace normdrop::NORMDROP_DEVICE
