// What a launch needs: scratch memory of a call out of the workspace of its stream, and grids.
#pragma once

#include <mutex>
#include <tuple>

#include "cuda/tuning.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

inline std::int64_t divided_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

inline constexpr std::int64_t scratch_alignment = 256;

// Held by an operation from its first scratch memory to its last launch: on one stream, the call of
// another thread would otherwise use that memory between two of its kernels.
inline std::unique_lock<std::mutex> scratch_is_ours() {
  static std::mutex mutex;
  return std::unique_lock(mutex);
}

template <class T>
std::int64_t scratch_bytes(std::int64_t count) {
  return divided_up(count * static_cast<std::int64_t>(sizeof(T)), scratch_alignment) *
         scratch_alignment;
}

template <class T>
T* scratch(void* stream, std::int64_t count) {
  return static_cast<T*>(workspace(scratch_bytes<T>(count), stream));
}

// Several arrays, one behind the other.
template <class... T, class... Count>
  requires(sizeof...(T) > 1)
std::tuple<T*...> scratch(void* stream, Count... count) {
  char* next = static_cast<char*>(
      workspace((scratch_bytes<T>(static_cast<std::int64_t>(count)) + ...), stream));
  const auto take = [&]<class One>(One*, std::int64_t elements) {
    char* begin = next;
    next += scratch_bytes<One>(elements);
    return reinterpret_cast<One*>(begin);
  };
  return std::tuple<T*...>{take(static_cast<T*>(nullptr), static_cast<std::int64_t>(count))...};
}

// A grid of blocks in x; more than a card can launch at once is more than its memory can hold.
inline LaunchDims grid_of(std::int64_t blocks, int threads) {
  if (blocks > cuda_tuning::largest_grid) {
    throw DeviceError("an array has more elements than one launch reaches");
  }
  LaunchDims dims{};
  dims.grid = dim3(static_cast<unsigned>(blocks));
  dims.block = dim3(static_cast<unsigned>(threads));
  return dims;
}

}  // namespace normdrop::NORMDROP_DEVICE
