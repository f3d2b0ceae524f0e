// Reductions over neighbouring lanes and over a block, in an order that the number of threads alone
// decides. Values are put together by the `combine` of their type, or by a function of two; the
// lower lane's value comes first, so that it need not be commutative. Every thread gets the result.
#pragma once

#include <cstdint>
#include <cstring>

#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

struct Combined {
  template <class Value>
  __device__ __forceinline__ Value operator()(const Value& a, const Value& b) const {
    return combine(a, b);
  }
};

inline constexpr int warp_threads = 32;

__device__ __forceinline__ int lane_in_warp() {
  return static_cast<int>(threadIdx.x) % warp_threads;
}
__device__ __forceinline__ int warp_in_block() {
  return static_cast<int>(threadIdx.x) / warp_threads;
}

// The lanes of this thread's team of `width` neighbours.
template <int width>
__device__ __forceinline__ unsigned team_mask() {
  if constexpr (width >= warp_threads) {
    return 0xffffffffu;
  } else {
    return ((1u << width) - 1u) << (lane_in_warp() / width * width);
  }
}

// A struct of 8-byte words, each through `exchange`.
template <class Value, class Exchange>
__device__ __forceinline__ Value shuffled(const Value& value, Exchange&& exchange) {
  static_assert(sizeof(Value) % 8 == 0);
  constexpr int words = sizeof(Value) / 8;
  std::uint64_t word[words];
  memcpy(word, &value, sizeof value);
#pragma unroll
  for (int i = 0; i < words; ++i) word[i] = exchange(word[i]);
  Value result;
  memcpy(&result, word, sizeof value);
  return result;
}

template <int width, class Value, class Together = Combined>
__device__ __forceinline__ Value reduce_lanes(Value value, Together together = {}) {
  const unsigned mask = team_mask<width>();
#pragma unroll
  for (int bit = 1; bit < width && bit < warp_threads; bit *= 2) {
    const Value other =
        shuffled(value, [&](std::uint64_t word) { return __shfl_xor_sync(mask, word, bit); });
    const bool upper = (lane_in_warp() & bit) != 0;
    value = together(upper ? other : value, upper ? value : other);
  }
  return value;
}

// Over `threads` neighbouring threads: part of a warp, a warp, or the whole block. A block needs
// `slots`, one for each warp, in shared memory; they may be used again after another barrier.
template <int threads, class Value, class Together = Combined>
__device__ __forceinline__ Value reduce(Value value, Value* slots, Together together = {}) {
  value = reduce_lanes<threads>(value, together);
  if constexpr (threads > warp_threads) {
    if (lane_in_warp() == 0) slots[warp_in_block()] = value;
    __syncthreads();
    value = slots[0];
    for (int warp = 1; warp < threads / warp_threads; ++warp) value = together(value, slots[warp]);
  }
  return value;
}

template <int threads>
inline constexpr int slots_for = threads > warp_threads ? threads / warp_threads : 1;

}  // namespace normdrop::NORMDROP_DEVICE
