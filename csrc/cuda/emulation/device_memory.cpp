#include "cuda/emulation/device_memory.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <string>

#include "cuda/emulation/sanitizer.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

constexpr std::size_t redzone_bytes = 256;
constexpr std::size_t alignment = 256;
constexpr unsigned char redzone = 0xC3;

// By address. Never destroyed: arrays may be released by other statics' destructors.
std::map<const unsigned char*, Allocation, std::less<>>& given_out(MemoryKind kind) {
  using Map = std::map<const unsigned char*, Allocation, std::less<>>;
  static auto* device = new Map;
  static auto* pinned = new Map;
  return kind == MemoryKind::device ? *device : *pinned;
}

const char* described(MemoryKind kind) { return kind == MemoryKind::device ? "device" : "pinned"; }

bool intact(const unsigned char* begin) {
  return std::all_of(begin, begin + redzone_bytes,
                     [](unsigned char byte) { return byte == redzone; });
}

}  // namespace

void fill(void* memory, std::size_t bytes, unsigned char value) {
  auto* byte = static_cast<volatile unsigned char*>(memory);
  std::size_t i = 0;
  for (; i < bytes && reinterpret_cast<std::uintptr_t>(byte + i) % 8 != 0; ++i) byte[i] = value;
  for (; i + 8 <= bytes; i += 8) {
    *reinterpret_cast<volatile std::uint64_t*>(byte + i) = 0x0101010101010101u * value;
  }
  for (; i < bytes; ++i) byte[i] = value;
}

void* allocate_memory(std::int64_t bytes, MemoryKind kind) {
  const std::size_t wanted = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
  const std::size_t rounded = (wanted + alignment - 1) / alignment * alignment;
  auto* base = static_cast<unsigned char*>(std::aligned_alloc(alignment, rounded + 512));
  if (base == nullptr) throw std::bad_alloc();
  unsigned char* memory = base + redzone_bytes;
  fill(base, redzone_bytes, redzone);
  fill(memory, wanted, unwritten);
  fill(memory + wanted, redzone_bytes, redzone);
  sanitizer::forbid(base, redzone_bytes);
  sanitizer::forbid(memory + wanted, redzone_bytes);
  given_out(kind).emplace(memory, Allocation{memory, wanted});
  return memory;
}

Allocation forget_memory(void* memory, MemoryKind kind) {
  auto& all = given_out(kind);
  const auto found = all.find(static_cast<unsigned char*>(memory));
  if (found == all.end()) {
    throw DeviceError(std::string("release: the pointer must be ") + described(kind) +
                      " memory that was allocated and not yet released");
  }
  const Allocation allocation = found->second;
  all.erase(found);
  return allocation;
}

void check_redzones(const Allocation& allocation) {
  unsigned char* before = allocation.memory - redzone_bytes;
  unsigned char* behind = allocation.memory + allocation.bytes;
  sanitizer::allow(before, redzone_bytes);
  sanitizer::allow(behind, redzone_bytes);
  const bool whole_before = intact(before);
  const bool whole_behind = intact(behind);
  sanitizer::forbid(before, redzone_bytes);
  sanitizer::forbid(behind, redzone_bytes);
  if (whole_before && whole_behind) return;
  throw DeviceError(std::string("bytes ") + (whole_before ? "behind" : "before") +
                    " an allocation of " + std::to_string(allocation.bytes) +
                    " bytes were overwritten");
}

void destroy(const Allocation& allocation) {
  unsigned char* base = allocation.memory - redzone_bytes;
  struct Free {
    unsigned char* base;
    std::size_t bytes;
    ~Free() {
      sanitizer::allow(base, bytes);
      std::free(base);
    }
  } free{base, allocation.bytes + 2 * redzone_bytes};
  check_redzones(allocation);
}

bool is_within(const void* pointer, MemoryKind kind) {
  const auto* byte = static_cast<const unsigned char*>(pointer);
  const auto& all = given_out(kind);
  auto behind = all.upper_bound(byte);
  if (behind == all.begin()) return false;
  const Allocation& allocation = std::prev(behind)->second;
  return byte < allocation.memory + allocation.bytes;
}

}  // namespace normdrop::NORMDROP_DEVICE::emulation
