// Device memory, which is the host's between redzones. It remembers what it gave out.
#pragma once

#include <cstddef>
#include <cstdint>

namespace normdrop::NORMDROP_DEVICE::emulation {

inline constexpr unsigned char unwritten = 0xFF;  // as float, double or half: NaN

// memset that ThreadSanitizer, which replaces memset, does not see: filling memory is no doing of
// the thread that happens to run.
void fill(void* memory, std::size_t bytes, unsigned char value);

enum class MemoryKind { device, pinned };

// Aligned to 256 bytes and poisoned. Throws std::bad_alloc.
void* allocate_memory(std::int64_t bytes, MemoryKind kind);

struct Allocation {
  unsigned char* memory;
  std::size_t bytes;
};

// Forgets `memory`, which must have been given out, and is now the caller's to destroy().
Allocation forget_memory(void* memory, MemoryKind kind);

// Throw DeviceError where a redzone was written to; destroy() frees first.
void check_redzones(const Allocation& allocation);
void destroy(const Allocation& allocation);

bool is_within(const void* pointer, MemoryKind kind);

}  // namespace normdrop::NORMDROP_DEVICE::emulation
