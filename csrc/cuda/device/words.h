// Loads and stores of up to 16 bytes in one instruction, as the machine's own words: unsigned short,
// unsigned, uint2, uint4. The streaming ones are for data that is touched once: they ask the caches
// to let it go first.
#pragma once

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

namespace word_access {

template <int bytes>
struct word_for;
template <>
struct word_for<2> {
  using type = unsigned short;
};
template <>
struct word_for<4> {
  using type = unsigned;
};
template <>
struct word_for<8> {
  using type = uint2;
};
template <>
struct word_for<16> {
  using type = uint4;
};

// Zeros in memory, of the widest word.
static __device__ const uint4 zeros = {0, 0, 0, 0};

}  // namespace word_access

template <int bytes>
using word = typename word_access::word_for<bytes>::type;

// The address is a multiple of the word's size.
template <class Word>
__device__ __forceinline__ Word load_word(const void* source) {
  return *static_cast<const Word*>(source);
}

template <class Word>
__device__ __forceinline__ Word load_word_streaming(const void* source) {
  return __ldcs(static_cast<const Word*>(source));
}

template <class Word>
__device__ __forceinline__ void store_word(void* target, Word value) {
  *static_cast<Word*>(target) = value;
}

template <class Word>
__device__ __forceinline__ void store_word_streaming(void* target, Word value) {
  __stcs(static_cast<Word*>(target), value);
}

// The address, or that of zeros: a load that is not wanted costs no branch, which loads behind it would
// have to wait for.
template <class T>
__device__ __forceinline__ const T* address_or_zeros(bool wanted, const T* address) {
  return wanted ? address : reinterpret_cast<const T*>(&word_access::zeros);
}

// Makes the compiler forget what it knows of a value: what was derived from it is derived again
// instead of being kept in a register.
__device__ __forceinline__ void forget(std::uint64_t& value) { asm volatile("" : "+l"(value)); }
__device__ __forceinline__ void forget(std::uint32_t& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void forget(std::uint16_t& value) { asm volatile("" : "+h"(value)); }

}  // namespace normdrop::NORMDROP_DEVICE
