// Loads and stores of several bytes at once. As on the card, an address that is not aligned to
// the size of the access is an error.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/emulation/thread_state.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {

[[noreturn]] void misaligned(const void* address, unsigned bytes, const Site& site);

inline void check_alignment(const void* address, unsigned bytes, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) misaligned(address, bytes, site);
}

}  // namespace emulation

struct alignas(8) uint2 {
  unsigned x, y;
};

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

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

inline constexpr uint4 zeros{0, 0, 0, 0};

}  // namespace word_access

template <int bytes>
using word = typename word_access::word_for<bytes>::type;

template <class Word>
Word load_word(const void* source, emulation::Site site = emulation::Site::current()) {
  emulation::check_alignment(source, sizeof(Word), site);
  Word value;
  std::memcpy(&value, source, sizeof(Word));
  return value;
}

template <class Word>
void store_word(void* target, Word value, emulation::Site site = emulation::Site::current()) {
  emulation::check_alignment(target, sizeof(Word), site);
  std::memcpy(target, &value, sizeof(Word));
}

template <class Word>
Word load_word_streaming(const void* source, emulation::Site site = emulation::Site::current()) {
  return load_word<Word>(source, site);
}

template <class Word>
void store_word_streaming(void* target, Word value,
                          emulation::Site site = emulation::Site::current()) {
  store_word(target, value, site);
}

// The address, or that of zeros, for a load that is not wanted.
template <class T>
const T* address_or_zeros(bool wanted, const T* address) {
  return wanted ? address : reinterpret_cast<const T*>(&word_access::zeros);
}

// On a card this frees registers; here there is nothing to do.
template <class Word>
void forget(Word&) {}

}  // namespace normdrop::NORMDROP_DEVICE
