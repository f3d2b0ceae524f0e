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

struct alignas(16) Words {
  std::uint32_t word[4];
};

template <int n>
struct alignas(n) Bytes {
  static_assert(n == 2 || n == 4 || n == 8 || n == 16);
  unsigned char byte[n];
};

template <class T>
T load_as(const void* source, emulation::Site site = emulation::Site::current()) {
  emulation::check_alignment(source, alignof(T), site);
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

template <class T>
void store_as(void* target, T value, emulation::Site site = emulation::Site::current()) {
  emulation::check_alignment(target, alignof(T), site);
  std::memcpy(target, &value, sizeof(T));
}

template <class T>
T load_streaming_as(const void* source, emulation::Site site = emulation::Site::current()) {
  return load_as<T>(source, site);
}

template <class T>
void store_streaming_as(void* target, T value, emulation::Site site = emulation::Site::current()) {
  store_as(target, value, site);
}

inline Words load_words_streaming(const void* source,
                                  emulation::Site site = emulation::Site::current()) {
  return load_as<Words>(source, site);
}

inline void store_words_streaming(void* target, Words value,
                                  emulation::Site site = emulation::Site::current()) {
  store_as(target, value, site);
}

// On a card this frees registers; here there is nothing to do.
template <class Word>
void forget(Word&) {}

}  // namespace normdrop::NORMDROP_DEVICE
