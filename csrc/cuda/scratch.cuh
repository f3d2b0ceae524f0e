// Scratch memory of one call: several arrays out of the workspace of the stream.
#pragma once

#include <mutex>
#include <utility>

#include "cuda/tuning.h"
#include "cuda/vector_access.cuh"

namespace normdrop::NORMDROP_DEVICE {

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

template <class First, class Second>
std::pair<First*, Second*> scratch(void* stream, std::int64_t first, std::int64_t second) {
  char* base = static_cast<char*>(
      workspace(scratch_bytes<First>(first) + scratch_bytes<Second>(second), stream));
  return {reinterpret_cast<First*>(base),
          reinterpret_cast<Second*>(base + scratch_bytes<First>(first))};
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

template <auto value>
struct Number {
  static constexpr auto is = value;
};

// Calls body with a truth, as a compile-time value.
template <class Body>
void for_either(bool truth, Body&& body) {
  if (truth) {
    body(Number<true>{});
  } else {
    body(Number<false>{});
  }
}

// Calls body with the number of elements of a pack, a whole vector where every run of elements is a
// multiple of it, else 1, and with whether packs lie on their boundaries, both as compile-time
// values. `lie_aligned` tells the latter for a number.
template <int widest, class LieAligned, class Body>
void for_packs(std::int64_t length, LieAligned&& lie_aligned, Body&& body) {
  if (length % widest != 0) return body(Number<1>{}, Number<true>{});
  for_either(lie_aligned(widest), [&](auto aligned) { body(Number<widest>{}, aligned); });
}

// Of columns: a thread keeps several doubles for each of its columns, so that eight of them would not
// fit.
template <class T>
inline constexpr int column_elements = vector_elements<T> < 4 ? vector_elements<T> : 4;

// What for_packs<column_elements<T>> calls its body with.
template <class T>
int column_unit(std::int64_t columns) {
  return columns % column_elements<T> == 0 ? column_elements<T> : 1;
}

// Whether packs of a unit lie aligned in an array whose packs start at multiples of it.
template <class T>
bool packs_lie_aligned(const void* pointer, std::int64_t stride, int unit) {
  constexpr std::int64_t bytes = sizeof(T);
  return lies_aligned(pointer, stride * bytes, static_cast<int>(bytes) * unit);
}

}  // namespace normdrop::NORMDROP_DEVICE
