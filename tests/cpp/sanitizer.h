// What AddressSanitizer can be told about memory it did not hand out. Without it, nothing.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NORMDROP_UNDER_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NORMDROP_UNDER_ADDRESS_SANITIZER 1
#endif

#if defined(NORMDROP_UNDER_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace normdrop::driver {

#if defined(NORMDROP_UNDER_ADDRESS_SANITIZER)
inline void forbid(const void* begin, std::size_t bytes) {
  __asan_poison_memory_region(begin, bytes);
}
inline void allow(const void* begin, std::size_t bytes) {
  __asan_unpoison_memory_region(begin, bytes);
}
#else
inline void forbid(const void*, std::size_t) {}
inline void allow(const void*, std::size_t) {}
#endif

}  // namespace normdrop::driver
