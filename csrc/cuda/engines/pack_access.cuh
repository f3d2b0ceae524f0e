// Loads and stores of packs by neighbouring lanes.
//
// Which elements make a pack follows from the shape alone, never from an address, so that no bit of
// a result moves with it. Where packs do not lie on boundaries of their size, lanes still read and
// write whole aligned words, and pass each other through shuffles what lies beyond their own; heads
// and tails go element by element.
#pragma once

#include "cuda/arithmetic/packs.cuh"
#include "cuda/arithmetic/reduce.cuh"

namespace normdrop::NORMDROP_DEVICE {

// Around a pack: its line (a row, a run, or what a warp has of one) and the lanes beside this one.
// No lane touches an element outside its line. `width` lanes, a warp or a part of one, work together.
struct PackPlace {
  int before;     // elements of the line before the pack
  int after;      // elements of the line from the pack's first on; none: the pack is beyond the end
  bool preceded;  // the lane before this one has the pack before
  bool followed;  // the lane behind this one has the pack behind
};

// Of a line of `length` elements that begins with the first pack of a row of `width` lanes.
template <int width>
__device__ __forceinline__ PackPlace place_in_line(int first, int length) {
  const int lane = static_cast<int>(threadIdx.x) % width;
  return {first, length - first, lane > 0, lane < width - 1};
}

// The packs of a thread in a line that `threads` threads share: `threads` packs apart.
template <int unit, int threads>
struct PacksOfLine {
  static constexpr int lanes = threads < warp_threads ? threads : warp_threads;

  // Elements before a pack.
  __device__ __forceinline__ static int offset(int k) {
    return (static_cast<int>(threadIdx.x) % threads + k * threads) * unit;
  }
  __device__ __forceinline__ static PackPlace place(int k, int length) {
    return place_in_line<lanes>(offset(k), length);
  }
  // Whether no lane beside this one has an element of the pack.
  __device__ __forceinline__ static bool empty(int k, int length) {
    return (static_cast<int>(threadIdx.x) % threads / lanes * lanes + k * threads) * unit >= length;
  }
};

// Of a line of any length, of which a warp touches its own packs alone: others may write theirs.
template <int elements>
__device__ __forceinline__ PackPlace place_in_warp(std::int64_t first, std::int64_t length) {
  const int lane = lane_in_warp();
  const std::int64_t before = lane * elements;
  const std::int64_t after = (warp_threads - lane) * elements;
  return {static_cast<int>(first < before ? first : before),
          static_cast<int>(length - first < after ? length - first : after), lane > 0 && first > 0,
          lane < warp_threads - 1 && first + elements < length};
}

template <int width, class T, int elements>
__device__ __forceinline__ Pack<T, elements> from_next_lane(const Pack<T, elements>& pack) {
  return shuffled(pack, [](std::uint64_t word) {
    return __shfl_down_sync(team_mask<width>(), word, 1, width);
  });
}

template <int width, class T, int elements>
__device__ __forceinline__ Pack<T, elements> from_previous_lane(const Pack<T, elements>& pack) {
  return shuffled(
      pack, [](std::uint64_t word) { return __shfl_up_sync(team_mask<width>(), word, 1, width); });
}

// Elements [first, first + elements) of two packs in a row, first < elements.
template <class T, int elements>
__device__ __forceinline__ Pack<T, elements> window(const Pack<T, elements>& low,
                                                    const Pack<T, elements>& high, int first) {
  constexpr int words = static_cast<int>(sizeof low) / 4;
  std::uint32_t word[2 * words];
  memcpy(word, &low, sizeof low);
  memcpy(word + words, &high, sizeof high);
  const int bytes = first * static_cast<int>(sizeof(T));
#pragma unroll
  for (int step = words / 2; step > 0; step /= 2) {
    if (step * 4 < static_cast<int>(sizeof(T))) break;
    const bool moved = (bytes & (step * 4)) != 0;
#pragma unroll
    for (int i = 0; i + step < 2 * words; ++i) word[i] = moved ? word[i + step] : word[i];
  }
  if constexpr (sizeof(T) == 2) {
    const bool moved = (bytes & 2) != 0;
#pragma unroll
    for (int i = 0; i < words; ++i) word[i] = moved ? word[i] >> 16 | word[i + 1] << 16 : word[i];
  }
  Pack<T, elements> result;
  memcpy(&result, word, sizeof result);
  return result;
}

// Elements between the last boundary of a pack's size and an address.
template <int elements, class T>
__device__ __forceinline__ int behind_boundary(const T* address) {
  const auto items = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(address) / sizeof(T));
  return static_cast<int>(items % elements);
}

// All lanes of a team call this, those beyond the end too.
template <int width, bool streamed, class T, int elements>
__device__ __forceinline__ Pack<T, elements> load_shifted(const T* from, const PackPlace& place) {
  const int shift = behind_boundary<elements>(from);
  const bool whole = shift <= place.before && elements - shift <= place.after;
  const bool next_whole = place.followed && 2 * elements - shift <= place.after;
  auto pack = zero_pack<T, elements>();
  if (whole) pack = load_vector<T, elements, streamed>(from - shift);
  const auto next = from_next_lane<width>(pack);
  if (whole && (next_whole || shift == 0)) return window(pack, next, shift);
#pragma unroll
  for (int j = 0; j < elements; ++j) pack.set(j, j < place.after ? from[j] : T{});
  return pack;
}

// All lanes of a team call this, those beyond the end too. What lanes have read of the same words
// before, they have read before any of them writes.
template <int width, class T, int elements>
__device__ __forceinline__ void store_shifted(T* to, const Pack<T, elements>& pack,
                                              const PackPlace& place) {
  const int shift = behind_boundary<elements>(to);
  const bool whole = (place.preceded || shift == 0) && elements - shift <= place.after;
  const bool next_whole = place.followed && 2 * elements - shift <= place.after;
  const auto previous = from_previous_lane<width>(pack);
  __syncwarp(team_mask<width>());
  if (whole) {
    store_vector<T, elements>(
        to - shift, shift == 0 ? pack : window(previous, pack, (elements - shift) % elements));
    if (next_whole || shift == 0) return;
  }
#pragma unroll
  for (int j = 0; j < elements; ++j) {
    const bool in_own_word = j < elements - shift;
    if (j < place.after && !(in_own_word ? whole : next_whole)) to[j] = pack[j];
  }
}

// A pack of data that is read once (streamed) or again soon; zeros where it is beyond the end.
// `aligned`: every pack of the kernel lies on a boundary and whole in its line. If not, all lanes of a
// team come here.
template <class T, int elements, bool aligned, int width = warp_threads, bool streamed = false>
__device__ __forceinline__ Pack<T, elements> load_pack(const T* from, const PackPlace& place) {
  if constexpr (elements == 1 || aligned) {
    return place.after > 0 ? load_vector<T, elements, streamed>(from) : zero_pack<T, elements>();
  } else {
    return load_shifted<width, streamed, T, elements>(from, place);
  }
}

template <class T, int elements, bool aligned, int width = warp_threads>
__device__ __forceinline__ void store_pack(T* to, const Pack<T, elements>& pack,
                                           const PackPlace& place) {
  if constexpr (elements == 1 || aligned) {
    if (place.after > 0) store_vector<T, elements>(to, pack);
  } else {
    store_shifted<width, T, elements>(to, pack, place);
  }
}

}  // namespace normdrop::NORMDROP_DEVICE
