// What the blocks of a cluster, each with a part of one row, tell each other through distributed
// shared memory. Every warp of every block merges the parts in the same order.
#pragma once

#include "cuda/block_reduce.cuh"
#include "cuda/scratch.cuh"

namespace normdrop::NORMDROP_DEVICE {

// Blocks of a cluster that cards with clusters guarantee, and what most of them can be told to do.
inline constexpr int largest_cluster = 16;

// Whether so many blocks, each with a part of one row or channel, run together on this card.
inline bool fits_in_a_cluster(std::int64_t parts) {
  const DeviceLimits& limits = device_limits();
  return parts <= 1 ||
         (limits.clusters && parts <= limits.largest_cluster && parts <= largest_cluster);
}

// All parts, merged; `mine` is this block's, the same in all its threads. `shared` must not be
// written again before another cluster barrier.
template <class Value, class Combine>
__device__ __forceinline__ Value over_cluster(const Value& mine, Value* shared, const Value& empty,
                                              Combine&& combine) {
  if (threadIdx.x == 0) *shared = mine;
  cluster_sync();
  const auto lane = static_cast<unsigned>(lane_in_warp());
  const Value part = lane < cluster_size() ? *cluster_address(shared, lane) : empty;
  return reduce_lanes<warp_threads>(part, combine);
}

}  // namespace normdrop::NORMDROP_DEVICE
