// The threads of a launch as the scheduler sees them: clusters of blocks of warps of threads.
#pragma once

#include <cstdint>
#include <source_location>
#include <vector>

#include "cuda/emulation/fiber.h"
#include "cuda/emulation/keywords.h"

namespace normdrop::NORMDROP_DEVICE::emulation {

using Site = std::source_location;

inline constexpr unsigned lanes_per_warp = 32;
inline constexpr std::uint32_t all_lanes = 0xFFFFFFFFu;

struct Arena;
struct Warp;
struct Block;
struct Cluster;

// What a lane asks of its warp; `value` is what it contributes and then what it gets.
struct WarpRequest {
  enum class Kind { shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, any, all, synchronise };
  Kind kind;
  std::uint32_t mask;
  std::uint64_t value = 0;
  int parameter = 0;  // source lane, distance or xor mask of a shuffle
  int width = static_cast<int>(lanes_per_warp);
};

struct Thread {
  Warp* warp;
  unsigned lane;
  uint3 index;
  Fiber* fiber = nullptr;
  const char* waits_at = nullptr;  // the function; null while it can run
  Site site{};                     // where it called that function
  WarpRequest request;
};

struct Warp {
  Block* block;
  unsigned rank;             // in the order of the launch
  Thread* threads;           // one per lane that exists
  std::uint32_t existing;    // lanes
  std::uint32_t runnable;    // of those that exist
  std::uint32_t returned;    // from the kernel
  std::uint32_t requesting;  // wait for other lanes in a warp operation
  // ThreadSanitizer's view of __syncwarp: two for the groups that begin with a lane, in turns.
  char group_order[lanes_per_warp][2];
  unsigned group_turn[lanes_per_warp];
};

// __syncthreads or a cluster's barrier. The two results and orders take turns, since a fast
// thread may come to the next barrier before a slow one has left this one.
struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  unsigned turn = 0;
  const char* function = nullptr;  // what those wait at who have arrived, and where
  Site site{};
  int result[2] = {};
  char order[2] = {};
};

struct Block {
  Cluster* cluster;
  unsigned rank;  // in the cluster
  uint3 index;
  bool begun;
  unsigned remaining;  // threads that have not returned
  Arena* arena = nullptr;
  Barrier barrier;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
};

struct Cluster {
  unsigned remaining;  // blocks that have not ended
  Barrier barrier;
  // ThreadSanitizer: those who used this cluster's arenas come before those who use them next.
  // They take turns, so that nobody comes after a neighbour that merely returned early.
  char order[2] = {};
  unsigned turn = 0;
  std::vector<Block> blocks;
};

}  // namespace normdrop::NORMDROP_DEVICE::emulation
