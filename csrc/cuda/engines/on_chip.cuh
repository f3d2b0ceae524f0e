// The forward pass over a row or channel of chunks that stay on chip between its reading and its
// writing.
#pragma once

#include "cuda/engines/clusters.cuh"
#include "cuda/engines/slots.cuh"

namespace normdrop::NORMDROP_DEVICE {

// A thread's elements in the block's shared memory, which no other thread reads.
template <class Elements>
__device__ __forceinline__ auto* kept_packs(int chunk) {
  using PackType = std::remove_reference_t<decltype(Elements::pack[0])>;
  return dynamic_shared<PackType>() + chunk * Elements::packs * block_threads + threadIdx.x;
}

template <class Elements>
__device__ __forceinline__ void keep(const Elements& elements, int chunk) {
#pragma unroll
  for (int k = 0; k < Elements::packs; ++k) {
    kept_packs<Elements>(chunk)[k * block_threads] = elements.pack[k];
  }
}

template <class Elements>
__device__ __forceinline__ void fetch(Elements& elements, int chunk) {
#pragma unroll
  for (int k = 0; k < Elements::packs; ++k) {
    elements.pack[k] = kept_packs<Elements>(chunk)[k * block_threads];
  }
}

// `outline(chunk)` gives what this thread has of a chunk, without its elements, `load(elements,
// chunk)` reads them, `report(normaliser)` tells the statistics, and `write(elements, chunk,
// normaliser)` writes.
template <class T, bool several, class Statistic, class Outline, class Load, class Report,
          class Write>
__device__ __forceinline__ void normalise_on_chip(const ChunkSpread& spread, int block,
                                                  Statistic statistic, const Divisor& length,
                                                  double eps, Outline&& outline, Load&& load,
                                                  Report&& report, Write&& write) {
  SHARED_ARRAY(double, largest_slots, slots_for<block_threads>);
  SHARED_ARRAY(running_sums<T>, sum_slots, slots_for<block_threads>);
  SHARED_ARRAY(running_sums<T>, square_slots, slots_for<block_threads>);
  SHARED_ARRAY(Moments, parts, several ? most_chunks_of_block : 1);
  const MomentSlots<T> slots{largest_slots, sum_slots, square_slots};
  const int first = block * spread.of_block;
  const int left = spread.chunks - first;
  const int last = several ? (left < spread.of_block ? left : spread.of_block) - 1 : 0;
  auto elements = outline(first);
  load(elements, first);
  if constexpr (several) {
    for (int i = 0; i < last; ++i) {
      auto next = outline(first + i + 1);
      load(next, first + i + 1);
      const Moments moments =
          moments_of<block_threads>(elements, Divisor(elements.count()), slots, statistic);
      if (threadIdx.x == 0) parts[i] = moments;
      keep(elements, i);
      elements = next;
    }
  }
  const Moments moments =
      moments_of<block_threads>(elements, Divisor(elements.count()), slots, statistic);
  SHARED_ARRAY(Normaliser, shared, 1);
  if (spread.chunks > 1) {
    if (threadIdx.x == 0) parts[last] = moments;
    const PartsOfChunks<Moments> all(parts, spread);
    share_normaliser<T>(length, eps, statistic, shared,
                        [&] { return merge_in_warp<T>(spread.chunks, all); });
  } else {
    share_normaliser<T>(length, eps, statistic, shared, [&] { return moments; });
  }
  const Normaliser& n = *shared;
  if (first == 0 && threadIdx.x == 0) report(n);
  write(elements, first + last, n);
  if constexpr (several) {
    for (int i = last - 1; i >= 0; --i) {
      auto kept = outline(first + i);
      fetch(kept, i);
      write(kept, first + i, n);
    }
  }
  if (spread.blocks > 1) cluster_sync();  // no block may end while another still reads its parts
}

}  // namespace normdrop::NORMDROP_DEVICE
