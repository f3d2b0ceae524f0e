// The pass of the parametric rectifier, forward and backward:
//   out = value where x > 0, else weight * value
// The value is x itself, or grad_output.
#pragma once

#include "cuda/engines/dense_shape.cuh"
#include "cuda/engines/parameters.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct Rectify {
  const T* value;
  const T* x;  // null: the value
  T* out;
  Parameter<T> weight;  // of the middle index
  ShapeInPacks in;
  std::int64_t value_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t out_outer_stride;
};

template <class T, bool aligned, bool has_x>
__global__ void __launch_bounds__(block_threads) rectify_elements(Rectify<T> a) {
  constexpr int unit = vector_elements<T>;
  Pack<T, unit> value[packs_per_thread];
  Pack<T, unit> x[packs_per_thread];
  const auto indices = [&](int k) { return ElementsOfPack(a.in, pack_of_thread(k), unit); };
  const auto address = [&](const T* array, std::int64_t outer_stride, int k) {
    const ElementsOfPack at = indices(k);
    return array + at.outer * outer_stride + at.offset;
  };
  const auto place = [&](int k) { return indices(k).template place<unit>(a.in.shape); };
  const auto of_value = [&](int k) { return address(a.value, a.value_outer_stride, k); };
  if constexpr (has_x) {
    load_pairs<aligned, warp_threads, true>(
        value, x, of_value, [&](int k) { return address(a.x, a.x_outer_stride, k); }, place);
  } else {
    load_packs<aligned, warp_threads, true>(value, of_value, place);
  }
#pragma unroll
  for (int k = 0; k < packs_per_thread; ++k) {
    ElementsOfPack at = indices(k);
    const PackPlace of_pack = at.place<unit>(a.in.shape);
    T* out = a.out + at.outer * a.out_outer_stride + at.offset;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (j >= at.count) break;
      const wide<T> given = widened(value[k][j]);
      const bool above = (has_x ? widened(x[k][j]) : given) > 0;
      value[k].set(j, rounded<T>(above ? given : a.weight.at(at.middle, 1) * given));
      at.next(a.in.shape);
    }
    store_pack<T, unit, aligned>(out, value[k], of_pack);
  }
}

template <bool has_x, class T>
void rectify(const Rectify<T>& a, void* stream) {
  constexpr int unit = vector_elements<T>;
  const bool in_vectors = a.in.shape.in_packs(unit) &&
                          packs_lie_aligned<T>(a.value, a.value_outer_stride, unit) &&
                          packs_lie_aligned<T>(a.x, a.x_outer_stride, unit) &&
                          packs_lie_aligned<T>(a.out, a.out_outer_stride, unit);
  for_either(in_vectors, [&](auto aligned) {
    launch("rectify_elements", rectify_elements<T, aligned.is, has_x>,
           grid_of(divided_up(a.in.packs(), block_threads * packs_per_thread), block_threads),
           stream, a);
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
