// The passes that write rows and runs: normalised elements, or the gradient of x.
//
// Which normaliser and which parameter belong to an element are maps of its indices in (outer,
// middle, inner), so that rows and channels share these kernels. `aligned`: all packs are whole
// vectors on their boundaries, and the elements of a pack share their normaliser.
#pragma once

#include "cuda/engines/dense_shape.cuh"
#include "cuda/engines/slots.cuh"

namespace normdrop::NORMDROP_DEVICE {

// Parameters of a pack that stays within an index.
template <class T, int unit>
__device__ __forceinline__ void load_parameters(const Parameter<T>& parameter, const IndexMap& map,
                                                const DenseShape& shape, const ElementsOfPack& at,
                                                wide<T> otherwise, bool aligned,
                                                wide<T> (&out)[unit]) {
  if (shape.inner == 1 && map.second == 1) {
    parameter.load(at.in(map), at.count, otherwise, aligned, out);
  } else {
    fill(out, parameter.at(at.in(map), otherwise));
  }
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
  Quotient middle_together;
  IndexMap parameter_map;
  bool parameters_aligned;

  __device__ __forceinline__ const Normaliser* normaliser(const ElementsOfPack& at) const {
    return normalisers + normaliser_map.at(at.outer, middle_together.of(at.middle), at.inner);
  }
};

// Elements of a pack that crosses from one normaliser to the next.
template <bool finite, class T, int unit>
__device__ __forceinline__ void normalise_across(Pack<T, unit>& pack, ElementsOfPack at,
                                                 const NormaliseElements<T>& a) {
  const bool has_bias = a.bias.values != nullptr;
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= at.count) break;
    const Normaliser* normaliser = a.normaliser(at);
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
  const T* from[packs_per_thread];
  PackPlace place[packs_per_thread];
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    from[k] = a.x + at.outer * a.x_outer_stride + at.offset;
    place[k] = at.place<unit>(a.in.shape);
  }
  load_packs<aligned, warp_threads, false>(pack, [&](int k) { return from[k]; },
                                           [&](int k) { return place[k]; });
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    if (at.count > 0) {
      if (aligned || at.stays(a.in.shape, unit)) {
        const Normaliser* normaliser = a.normaliser(at);
        wide<T> weight[unit];
        wide<T> bias[unit];
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
  const T* addend;  // or null
  std::int64_t addend_outer_stride;
};

// Elements of a pack that crosses from one line to the next.
template <class T, int unit>
__device__ __forceinline__ void gradient_across(Pack<T, unit>& pack, const Pack<T, unit>& x,
                                                const Pack<T, unit>& addend, ElementsOfPack at,
                                                const GradientElements<T>& a) {
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= at.count) break;
    pack.set(j, gradient(pack[j], x[j], a.lines[at.in(a.line_map)],
                         static_cast<double>(a.weight.at(at.in(a.parameter_map), 1)), a.constants,
                         addend[j]));
    at.next(a.in.shape);
  }
}

template <class T, bool aligned>
__global__ void __launch_bounds__(block_threads) gradient_elements(GradientElements<T> a) {
  constexpr int unit = vector_elements<T>;
  Pack<T, unit> pack[packs_per_thread];
  Pack<T, unit> x[packs_per_thread];
  Pack<T, unit> addend[packs_per_thread];
  const T* of_grad_output[packs_per_thread];
  const T* of_x[packs_per_thread];
  const T* of_addend[packs_per_thread];
  PackPlace of_pack[packs_per_thread];
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    of_grad_output[k] = a.grad_output + at.outer * a.grad_output_outer_stride + at.offset;
    of_x[k] = a.x + at.outer * a.x_outer_stride + at.offset;
    of_addend[k] =
        a.addend != nullptr ? a.addend + at.outer * a.addend_outer_stride + at.offset : nullptr;
    of_pack[k] = at.place<unit>(a.in.shape);
  }
  const auto place = [&](int k) { return of_pack[k]; };
  load_pairs<aligned, warp_threads, false>(pack, x, [&](int k) { return of_grad_output[k]; },
                                           [&](int k) { return of_x[k]; }, place);
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) addend[k] = zero_pack<T, unit>();
  if (a.addend != nullptr) {
    load_packs<aligned, warp_threads, false>(addend, [&](int k) { return of_addend[k]; }, place);
  }
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    const ElementsOfPack at(a.in, pack_of_thread(k), unit);
    if (at.count > 0) {
      if (aligned || at.stays(a.in.shape, unit)) {
        const GradientLine line = a.lines[at.in(a.line_map)];
        wide<T> weight[unit];
        load_parameters(a.weight, a.parameter_map, a.in.shape, at, 1, a.parameters_aligned, weight);
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(j, gradient(pack[k][j], x[k][j], line, static_cast<double>(weight[j]),
                                  a.constants, addend[k][j]));
        }
      } else {
        gradient_across(pack[k], x[k], addend[k], at, a);
      }
    }
    store_pack<T, unit, aligned>(a.grad_x + at.outer * a.grad_x_outer_stride + at.offset, pack[k],
                                 at.place<unit>(a.in.shape));
  }
}

}  // namespace normdrop::NORMDROP_DEVICE
