// Packs: neighbouring elements in registers as they are stored, up to 16 bytes together, which one
// instruction loads or stores.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct wide_for {
  using type = float;
};
template <>
struct wide_for<double> {
  using type = double;
};
// What elements are computed in: float for float32 and narrower.
template <class T>
using wide = typename wide_for<T>::type;

template <class T>
__device__ __forceinline__ wide<T> widened(T value) {
  if constexpr (sizeof(T) == 8) {
    return value;
  } else {
    return to_float(value);
  }
}

template <class T>
inline constexpr int vector_elements = 16 / static_cast<int>(sizeof(T));

template <class T, int elements>
struct alignas(sizeof(T) * elements) Pack {
  T element[elements];

  __device__ __forceinline__ T operator[](int i) const { return element[i]; }
  __device__ __forceinline__ void set(int i, T value) { element[i] = value; }
};

// Two half types share a register, as they do in memory.
template <class T, int elements>
  requires(sizeof(T) == 2 && elements % 2 == 0)
struct alignas(sizeof(T) * elements) Pack<T, elements> {
  std::uint32_t pair[elements / 2];

  __device__ __forceinline__ T operator[](int i) const {
    return T{static_cast<std::uint16_t>(pair[i / 2] >> (i % 2 * 16))};
  }
  __device__ __forceinline__ void set(int i, T value) {
    const std::uint32_t others = i % 2 == 0 ? 0xffff0000u : 0x0000ffffu;
    pair[i / 2] = (pair[i / 2] & others) | static_cast<std::uint32_t>(value.bits) << (i % 2 * 16);
  }
};

// From and to an address on a boundary of the pack's size.
template <class T, int elements, bool streamed = false>
__device__ __forceinline__ Pack<T, elements> load_vector(const T* from) {
  using Word = word<sizeof(Pack<T, elements>)>;
  const Word whole = streamed ? load_word_streaming<Word>(from) : load_word<Word>(from);
  Pack<T, elements> pack;
  memcpy(&pack, &whole, sizeof pack);
  return pack;
}

template <class T, int elements>
__device__ __forceinline__ void store_vector(T* to, const Pack<T, elements>& pack) {
  word<sizeof pack> whole;
  memcpy(&whole, &pack, sizeof pack);
  store_word_streaming(to, whole);
}

template <class T, int elements>
__device__ __forceinline__ Pack<T, elements> zero_pack() {
  Pack<T, elements> pack;
  memset(&pack, 0, sizeof pack);
  return pack;
}

// Between two passes over packs in registers: their elements are widened anew, which costs less
// than the registers that the widened ones would hold.
template <class T, int elements>
__device__ __forceinline__ void forget_widened(Pack<T, elements>& pack) {
  using Word =
      std::conditional_t<sizeof(pack) % 8 == 0 && sizeof(T) == 8, std::uint64_t,
                         std::conditional_t<sizeof(pack) % 4 == 0, std::uint32_t, std::uint16_t>>;
  constexpr int words = sizeof(pack) / sizeof(Word);
  Word word[words];
  memcpy(word, &pack, sizeof pack);
#pragma unroll
  for (int i = 0; i < words; ++i) forget(word[i]);
  memcpy(&pack, word, sizeof pack);
}

// Whether packs of `bytes` lie aligned at a pointer and at every multiple of a stride behind it.
inline bool lies_aligned(const void* pointer, std::int64_t stride_bytes, int bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % static_cast<std::uintptr_t>(bytes) == 0 &&
         stride_bytes % bytes == 0;
}

template <class T, int elements>
__device__ __forceinline__ void fill(T (&array)[elements], T value) {
#pragma unroll
  for (int j = 0; j < elements; ++j) array[j] = value;
}

}  // namespace normdrop::NORMDROP_DEVICE
