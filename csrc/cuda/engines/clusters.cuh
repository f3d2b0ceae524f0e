// Rows and channels of several chunks on chip: the blocks of a cluster have one chunk each in their
// registers, or several, all but one of them in shared memory. What the blocks find of their chunks
// they tell each other through distributed shared memory, and every block merges it as slots.cuh
// merges slots, so that the bits are those of chunks through memory.
#pragma once

#include <algorithm>

#include "cuda/arithmetic/reduce.cuh"
#include "cuda/engines/scratch.cuh"

namespace normdrop::NORMDROP_DEVICE {

// The chunks of a row over the blocks of a cluster. A row in a single block is launched without
// one.
struct ChunkSpread {
  int chunks;
  int of_block;  // the last block may have fewer
  int blocks;
  std::size_t shared_bytes;  // of a block: its chunks but one
};

// Chunks of a block are at most so many.
inline constexpr int most_chunks_of_block = 16;

// Of one chunk a block.
inline ChunkSpread one_chunk_a_block(std::int64_t chunks) {
  const int count = static_cast<int>(chunks);
  return {.chunks = count, .of_block = 1, .blocks = count, .shared_bytes = 0};
}

inline int largest_cluster() {
  const DeviceLimits& limits = device_limits();
  return limits.clusters ? std::min(limits.largest_cluster, cuda_tuning::largest_cluster) : 1;
}

// Whether so many blocks, each with one part of a row or channel, run together on this card.
inline bool fits_in_a_cluster(std::int64_t parts) {
  return parts <= 1 || parts <= largest_cluster();
}

// How chunks of some bytes lie on this card's chip; no blocks: they do not.
inline ChunkSpread spread_on_chip(std::int64_t chunks, std::int64_t chunk_bytes) {
  if (fits_in_a_cluster(chunks)) return one_chunk_a_block(chunks);
  const std::int64_t widest = std::min(largest_cluster(), cuda_tuning::cluster_of_several_chunks);
  const std::int64_t of_block = divided_up(chunks, widest);
  const std::int64_t bytes = (of_block - 1) * chunk_bytes;
  const std::int64_t room =
      device_limits().shared_bytes_per_block / cuda_tuning::several_blocks_resident -
      cuda_tuning::shared_bytes_beside_chunks;
  if (of_block > most_chunks_of_block || bytes > room) return {};
  return {.chunks = static_cast<int>(chunks),
          .of_block = static_cast<int>(of_block),
          .blocks = static_cast<int>(divided_up(chunks, of_block)),
          .shared_bytes = static_cast<std::size_t>(bytes)};
}

inline LaunchDims clusters_of(const ChunkSpread& spread, std::int64_t rows, int threads) {
  LaunchDims dims = grid_of(rows * spread.blocks, threads);
  dims.cluster = static_cast<unsigned>(spread.blocks);
  dims.shared_bytes = spread.shared_bytes;
  return dims;
}

// What each block has of its chunks in `parts` of shared memory, for all of them to read: not to be
// written again before another cluster barrier.
template <class Value>
class PartsOfChunks {
 public:
  __device__ __forceinline__ PartsOfChunks(Value* parts, const ChunkSpread& spread)
      : parts_(parts), spread_(spread) {
    if (spread.blocks > 1) {
      cluster_sync();
    } else {
      __syncthreads();
    }
  }
  __device__ __forceinline__ Value operator()(std::int64_t chunk) const {
    const int block = static_cast<int>(chunk) / spread_.of_block;
    Value* part = parts_ + (static_cast<int>(chunk) - block * spread_.of_block);
    return spread_.blocks > 1 ? *cluster_address(part, static_cast<unsigned>(block)) : *part;
  }

 private:
  Value* parts_;
  ChunkSpread spread_;
};

// The sum of one part a block; `mine` is this block's, the same in all its threads.
template <class Value>
__device__ __forceinline__ Value over_cluster(const Value& mine, Value* shared, int parts) {
  if (threadIdx.x == 0) *shared = mine;
  const PartsOfChunks<Value> all(shared, ChunkSpread{parts, 1, parts, 0});
  return reduce_lanes<warp_threads>(lane_in_warp() < parts ? all(lane_in_warp()) : Value{});
}

}  // namespace normdrop::NORMDROP_DEVICE
