// Loads and stores of packs by neighbouring lanes.
//
// Which elements make a pack follows from the shape alone, never from an address, so that no bit of
// a result moves with it. Where packs do not lie on boundaries of their size, lanes still read and
// write whole aligned words, and pass each other through shuffles what lies beyond their own; heads
// and tails go element by element.
#pragma once

#include "cuda/arithmetic/packs.cuh"
#include "cuda/arithmetic/reduce.cuh"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {

// Around a pack: its line (a row, a run, or what a warp has of one) and the lanes beside this one.
// No lane touches an element outside its line. `width` lanes, a warp or a part of one, work
// together.
struct PackPlace {
  int before;  // elements of the line before the pack
  int after;   // from the pack's first on; 0 or less: the pack is beyond the end, `before + after`
               // is the length all the same
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

// One of two packs, word by word: between two addresses, packs would have to lie in memory.
template <class T, int elements>
__device__ __forceinline__ Pack<T, elements> chosen(bool first, const Pack<T, elements>& a,
                                                    const Pack<T, elements>& b) {
  constexpr int words = static_cast<int>(sizeof a) / 4;
  std::uint32_t of_a[words];
  std::uint32_t of_b[words];
  memcpy(of_a, &a, sizeof a);
  memcpy(of_b, &b, sizeof b);
#pragma unroll
  for (int i = 0; i < words; ++i) of_a[i] = first ? of_a[i] : of_b[i];
  Pack<T, elements> result;
  memcpy(&result, of_a, sizeof result);
  return result;
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

// An aligned word around elements of a line: the first is element `begin` of the line, below 0
// where the line begins within the word.
template <class T, int elements>
struct WordOfLine {
  const T* address;
  int begin;
  int length;  // of the line

  // Zeros where the line has only a part of it, or nothing.
  template <bool streamed>
  __device__ __forceinline__ Pack<T, elements> load() const {
    return load_vector<T, elements, streamed>(address_or_zeros(whole(), address));
  }
  // What the line has of a word that is not whole.
  __device__ __forceinline__ void load_part(Pack<T, elements>& pack) const {
    if (whole() || begin <= -elements || begin >= length) return;
    auto part = zero_pack<T, elements>();
#pragma unroll
    for (int j = 0; j < elements; ++j) {
      if (begin + j >= 0 && begin + j < length) part.set(j, address[j]);
    }
    pack = part;
  }

 private:
  __device__ __forceinline__ bool whole() const { return begin >= 0 && begin + elements <= length; }
};

// A pack that has been asked for: what its address says is on its way, and is first looked at by
// take(). Several packs are asked for, then their parts, before the first is taken.
template <class T, int elements, bool aligned, int width = warp_threads, bool streamed = false>
class AskedPack {
 public:
  __device__ __forceinline__ void ask(const T* from, const PackPlace& place) {
    pack_ = load_vector<T, elements, streamed>(address_or_zeros(place.after > 0, from));
  }
  __device__ __forceinline__ void ask_parts(const T*, const PackPlace&) {}
  __device__ __forceinline__ Pack<T, elements> take() const { return pack_; }

 private:
  Pack<T, elements> pack_;
};

// Where packs lie on no boundaries: each lane has the word that its pack begins in, and gets the
// next one from the lane behind it, or has it too. All lanes of a team come here.
template <class T, int elements, int width, bool streamed>
  requires(elements > 1)
class AskedPack<T, elements, false, width, streamed> {
 public:
  __device__ __forceinline__ void ask(const T* from, const PackPlace& place) {
    shift_ = behind_boundary<elements>(from);
    followed_ = place.followed;
    own_ = own(from, place).template load<streamed>();
    next_ = next(from, place).template load<streamed>();
  }
  __device__ __forceinline__ void ask_parts(const T* from, const PackPlace& place) {
    own(from, place).load_part(own_);
    next(from, place).load_part(next_);
  }
  __device__ __forceinline__ Pack<T, elements> take() const {
    return window(own_, chosen(followed_, from_next_lane<width>(own_), next_), shift_);
  }

 private:
  using Word = WordOfLine<T, elements>;
  __device__ __forceinline__ Word own(const T* from, const PackPlace& place) const {
    return {from - shift_, place.before - shift_, place.before + place.after};
  }
  // Nothing where it comes from another lane, or is not needed.
  __device__ __forceinline__ Word next(const T* from, const PackPlace& place) const {
    const bool needed = !followed_ && shift_ > 0;
    const Word word = own(from, place);
    return {word.address + elements, word.begin + elements, needed ? word.length : 0};
  }

  Pack<T, elements> own_;
  Pack<T, elements> next_;
  int shift_;
  bool followed_;
};

// Packs of one of `arrays` arrays that a thread asks for before it takes the first: all; but fewer
// where each needs two words, or where there are many of single elements.
template <bool aligned, int elements, int packs, int arrays>
inline constexpr int packs_asked_together = [] {
  const int most = elements == 1 ? cuda_tuning::elements_asked_together
                   : aligned     ? packs
                                 : cuda_tuning::shifted_packs_asked_together / arrays;
  return packs < most ? packs : most;
}();

// Packs of data that is read once (streamed) or again soon; zeros where they are beyond the end.
// `from(k)` and `place(k)` tell where they lie. `aligned`: every pack of the kernel lies on a
// boundary and whole in its line. If not, all lanes of a team come here.
template <bool aligned, int width, bool streamed, class T, int elements, int packs, class From,
          class Place>
__device__ __forceinline__ void load_packs(Pack<T, elements> (&pack)[packs], From&& from,
                                           Place&& place) {
  constexpr int together = packs_asked_together<aligned, elements, packs, 1>;
  static_assert(packs % together == 0);
#pragma unroll
  for (int first = 0; first < packs; first += together) {
    AskedPack<T, elements, aligned, width, streamed> asked[together];
#pragma unroll
    for (int i = 0; i < together; ++i) asked[i].ask(from(first + i), place(first + i));
#pragma unroll
    for (int i = 0; i < together; ++i) asked[i].ask_parts(from(first + i), place(first + i));
#pragma unroll
    for (int i = 0; i < together; ++i) pack[first + i] = asked[i].take();
  }
}

// Packs of two arrays, at the same places of each.
template <bool aligned, int width, bool streamed, class T, int elements, int packs, class First,
          class Second, class Place>
__device__ __forceinline__ void load_pairs(Pack<T, elements> (&first)[packs],
                                           Pack<T, elements> (&second)[packs], First&& of_first,
                                           Second&& of_second, Place&& place) {
  constexpr int together = packs_asked_together<aligned, elements, packs, 2>;
  static_assert(packs % together == 0);
#pragma unroll
  for (int begin = 0; begin < packs; begin += together) {
    AskedPack<T, elements, aligned, width, streamed> asked_first[together];
    AskedPack<T, elements, aligned, width, streamed> asked_second[together];
#pragma unroll
    for (int i = 0; i < together; ++i) {
      const PackPlace at = place(begin + i);
      asked_first[i].ask(of_first(begin + i), at);
      asked_second[i].ask(of_second(begin + i), at);
    }
#pragma unroll
    for (int i = 0; i < together; ++i) {
      const PackPlace at = place(begin + i);
      asked_first[i].ask_parts(of_first(begin + i), at);
      asked_second[i].ask_parts(of_second(begin + i), at);
    }
#pragma unroll
    for (int i = 0; i < together; ++i) {
      first[begin + i] = asked_first[i].take();
      second[begin + i] = asked_second[i].take();
    }
  }
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

// One pack.
template <class T, int elements, bool aligned, int width = warp_threads, bool streamed = false>
__device__ __forceinline__ Pack<T, elements> load_pack(const T* from, const PackPlace& place) {
  AskedPack<T, elements, aligned, width, streamed> asked;
  asked.ask(from, place);
  asked.ask_parts(from, place);
  return asked.take();
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
