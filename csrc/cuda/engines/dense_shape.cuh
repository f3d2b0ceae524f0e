// Arrays (outer, middle, inner), dense within an outer index, in packs: the indices of a pack's
// first element.
#pragma once

#include "cuda/arithmetic/quotient.cuh"
#include "cuda/engines/chunks.cuh"

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

// The packs of a thread in an element-wise pass, `block_threads` packs apart.
inline constexpr int packs_per_thread = cuda_tuning::packs_per_thread;
__device__ __forceinline__ std::int64_t pack_of_thread(int k) {
  return (static_cast<std::int64_t>(blockIdx.x) * packs_per_thread + k) * block_threads +
         threadIdx.x;
}

}  // namespace normdrop::NORMDROP_DEVICE
