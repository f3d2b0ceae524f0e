// Shared memory: every block has an arena in which each array lies between redzones. All bytes of
// an array are 0xFF (NaN) when its block begins and again when the block's last thread returns;
// the redzones are checked then.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cuda/emulation/thread_state.h"

namespace normdrop::NORMDROP_DEVICE::emulation {

// One SHARED_ARRAY; its address tells it from others.
struct SharedArray {
  const char* name;
  std::size_t bytes;
  std::size_t alignment;
};

// Where the arrays of a launch lie, in every block alike, in the order in which they were first met.
class SharedLayout {
 public:
  struct Place {
    const SharedArray* array;
    std::size_t begin;
    std::size_t end() const { return begin + array->bytes; }
  };

  // Null where the array has no place yet.
  const Place* find(const SharedArray& array) const;
  // Throws std::length_error with a text where a block cannot have so much.
  const Place& add(const SharedArray& array, bool dynamic);
  const std::vector<Place>& places() const { return places_; }

 private:
  std::vector<Place> places_;
  std::size_t static_bytes_ = 0;
  std::size_t all_bytes_ = 0;
};

struct Arena {
  static constexpr std::size_t capacity = 512 * 1024;
  alignas(1024) unsigned char bytes[capacity];
};

Arena* take_arena();
void return_arena(Arena* arena, const SharedLayout& layout);
void discard_arena(Arena* arena);  // of a launch that may have written anywhere

void poison(Arena& arena, const SharedLayout& layout);
void poison(Arena& arena, const SharedLayout::Place& place);
void forbid_redzones(Arena& arena, const SharedLayout& layout);  // under AddressSanitizer
// Which array was overrun and how, or nothing.
std::string overrun(Arena& arena, const SharedLayout& layout);

// Of the running thread's block.
void* shared_address(const SharedArray& array);
void* dynamic_shared_address();

}  // namespace normdrop::NORMDROP_DEVICE::emulation

namespace normdrop::NORMDROP_DEVICE {

// `name` becomes an array of N, as a __shared__ array is, not a pointer.
#define SHARED_ARRAY(T, name, N)                                             \
  static constinit const ::normdrop::NORMDROP_DEVICE::emulation::SharedArray \
      name##_in_shared_memory{#name, sizeof(T) * (N), alignof(T)};           \
  T(&name)                                                                   \
  [N] = *reinterpret_cast<T(*)[N]>(                                          \
      ::normdrop::NORMDROP_DEVICE::emulation::shared_address(name##_in_shared_memory))

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulation::dynamic_shared_address());
}

}  // namespace normdrop::NORMDROP_DEVICE
