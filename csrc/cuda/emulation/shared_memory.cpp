#include "cuda/emulation/shared_memory.h"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "cuda/emulation/device_limits.h"
#include "cuda/emulation/device_memory.h"
#include "cuda/emulation/sanitizer.h"
#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

constexpr std::size_t redzone_bytes = 256;
constexpr std::size_t last_redzone_bytes = 4096;
constexpr unsigned char redzone = 0xC3;
constexpr std::size_t static_limit = 48 * 1024;  // of CUDA, on every card
constexpr std::size_t static_reserve = 1024;     // beside what a launch may ask for

// Never destroyed: a launch may still come from another static's destructor.
std::vector<Arena*>& pool() {
  static auto* arenas = new std::vector<Arena*>;
  return *arenas;
}

std::size_t end_of(const SharedLayout& layout) {
  return layout.places().empty() ? 0 : layout.places().back().end();
}

// A longer redzone behind the last array: whoever leaves an array by a whole row shows there.
std::size_t checked_end(const SharedLayout& layout) {
  return std::min(end_of(layout) + last_redzone_bytes, Arena::capacity);
}

// How many bytes of [begin, end) are not what a redzone holds.
std::size_t damaged(const Arena& arena, std::size_t begin, std::size_t end) {
  const auto whole = std::count(arena.bytes + begin, arena.bytes + end, redzone);
  return end - begin - static_cast<std::size_t>(whole);
}

std::string described(const SharedArray& array, std::size_t bytes, const char* side) {
  return std::to_string(bytes) + " bytes close " + side + " the shared array '" + array.name +
         "' of " + std::to_string(array.bytes) + " bytes were overwritten";
}

}  // namespace

const SharedLayout::Place* SharedLayout::find(const SharedArray& array) const {
  for (const Place& place : places_) {
    if (place.array == &array) return &place;
  }
  return nullptr;
}

const SharedLayout::Place& SharedLayout::add(const SharedArray& array, bool dynamic) {
  all_bytes_ += array.bytes;
  if (!dynamic) static_bytes_ += array.bytes;
  const std::size_t limit =
      static_cast<std::size_t>(device_limits().shared_bytes_per_block) + static_reserve;
  if (static_bytes_ > static_limit || all_bytes_ > limit) {
    throw std::length_error("with '" + std::string(array.name) + "' a block has " +
                            std::to_string(static_bytes_) + " bytes in shared arrays (at most " +
                            std::to_string(static_limit) + ") and " + std::to_string(all_bytes_) +
                            " bytes of shared memory in all (at most " + std::to_string(limit) +
                            ")");
  }
  // Aligned to what was asked for and to no more, so that a wider access shows.
  const std::size_t coarse = std::max<std::size_t>(redzone_bytes, 2 * array.alignment);
  const std::size_t free = end_of(*this) + redzone_bytes;
  const std::size_t begin = (free + coarse - 1) / coarse * coarse + array.alignment;
  if (begin + array.bytes + redzone_bytes > Arena::capacity) {
    throw std::length_error("more shared arrays than the emulation's arena holds");
  }
  return places_.emplace_back(Place{&array, begin});
}

Arena* take_arena() {
  if (!pool().empty()) {
    Arena* arena = pool().back();
    pool().pop_back();
    return arena;
  }
  auto arena = std::make_unique_for_overwrite<Arena>();
  fill(arena->bytes, Arena::capacity, redzone);
  sanitizer::forbid(arena->bytes, Arena::capacity);
  return arena.release();
}

void return_arena(Arena* arena, const SharedLayout& layout) {
  sanitizer::allow(arena->bytes, Arena::capacity);
  fill(arena->bytes, end_of(layout), redzone);
  sanitizer::forbid(arena->bytes, Arena::capacity);
  pool().push_back(arena);
}

void discard_arena(Arena* arena) {
  sanitizer::allow(arena->bytes, Arena::capacity);
  delete arena;
}

void poison(Arena& arena, const SharedLayout::Place& place) {
  sanitizer::allow(arena.bytes + place.begin, place.array->bytes);
  fill(arena.bytes + place.begin, place.array->bytes, unwritten);
}

void poison(Arena& arena, const SharedLayout& layout) {
  for (const SharedLayout::Place& place : layout.places()) poison(arena, place);
}

namespace {

std::string damage(const Arena& arena, const SharedLayout& layout) {
  std::size_t begin = 0;
  const SharedArray* before = nullptr;
  for (const SharedLayout::Place& place : layout.places()) {
    // The first half of what lies between two arrays tells of the one, the rest of the other.
    const std::size_t middle = before == nullptr ? begin : begin + (place.begin - begin) / 2;
    if (const std::size_t bytes = damaged(arena, begin, middle)) {
      return described(*before, bytes, "behind");
    }
    if (const std::size_t bytes = damaged(arena, middle, place.begin)) {
      return described(*place.array, bytes, "before");
    }
    begin = place.end();
    before = place.array;
  }
  const std::size_t bytes = damaged(arena, begin, checked_end(layout));
  return bytes == 0 ? "" : described(*before, bytes, "behind");
}

}  // namespace

std::string overrun(Arena& arena, const SharedLayout& layout) {
  sanitizer::allow(arena.bytes, Arena::capacity);
  const std::string text = damage(arena, layout);
  forbid_redzones(arena, layout);
  return text;
}

void forbid_redzones(Arena& arena, const SharedLayout& layout) {
  std::size_t begin = 0;
  for (const SharedLayout::Place& place : layout.places()) {
    sanitizer::forbid(arena.bytes + begin, place.begin - begin);
    begin = place.end();
  }
  sanitizer::forbid(arena.bytes + begin, Arena::capacity - begin);
}

void* shared_address(const SharedArray& array) { return running_launch().shared(array); }

void* dynamic_shared_address() { return running_launch().dynamic_shared(); }

}  // namespace normdrop::NORMDROP_DEVICE::emulation
