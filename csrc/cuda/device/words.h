// Loads and stores of several bytes in one instruction. The streaming ones are for data that is
// touched once: they ask the caches to let it go first.
#pragma once

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

struct alignas(16) Words {
  std::uint32_t word[4];
};

template <int n>
struct alignas(n) Bytes {
  static_assert(n == 2 || n == 4 || n == 8 || n == 16);
  unsigned char byte[n];
};

namespace word_access {

// What the compiler's access functions take for so many bytes.
template <int n>
struct Word;
template <>
struct Word<2> {
  using Type = unsigned short;
};
template <>
struct Word<4> {
  using Type = unsigned;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};

template <class T>
using WordOf = typename Word<sizeof(T)>::Type;

template <class To, class From>
__device__ __forceinline__ To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace word_access

// T is Words, Bytes<n> or another type of 2, 4, 8 or 16 bytes, and the address is aligned to it.
template <class T>
__device__ __forceinline__ T load_as(const void* source) {
  return word_access::same_bits<T>(*static_cast<const word_access::WordOf<T>*>(source));
}

template <class T>
__device__ __forceinline__ T load_streaming_as(const void* source) {
  return word_access::same_bits<T>(__ldcs(static_cast<const word_access::WordOf<T>*>(source)));
}

template <class T>
__device__ __forceinline__ void store_as(void* target, T value) {
  using Word = word_access::WordOf<T>;
  *static_cast<Word*>(target) = word_access::same_bits<Word>(value);
}

template <class T>
__device__ __forceinline__ void store_streaming_as(void* target, T value) {
  using Word = word_access::WordOf<T>;
  __stcs(static_cast<Word*>(target), word_access::same_bits<Word>(value));
}

__device__ __forceinline__ Words load_words_streaming(const void* source) {
  return load_streaming_as<Words>(source);
}

__device__ __forceinline__ void store_words_streaming(void* target, Words value) {
  store_streaming_as(target, value);
}

// Makes the compiler forget what it knows of a value: what was derived from it is derived again
// instead of being kept in a register.
__device__ __forceinline__ void forget(std::uint64_t& value) { asm volatile("" : "+l"(value)); }
__device__ __forceinline__ void forget(std::uint32_t& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void forget(std::uint16_t& value) { asm volatile("" : "+h"(value)); }

}  // namespace normdrop::NORMDROP_DEVICE
