// What the sanitizers must be told about fibers and memory. All of it is weak: without the
// sanitizer the calls are absent and nothing happens, whatever flags this file is compiled with.
#pragma once

#include <cstddef>

extern "C" {
#if defined(__linux__)
[[gnu::weak]] void __sanitizer_start_switch_fiber(void**, const void*, std::size_t);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void*, const void**, std::size_t*);
[[gnu::weak]] void __asan_poison_memory_region(const volatile void*, std::size_t);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void*, std::size_t);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void* __tsan_create_fiber(unsigned);
[[gnu::weak]] void __tsan_destroy_fiber(void*);
[[gnu::weak]] void __tsan_switch_to_fiber(void*, unsigned);
[[gnu::weak]] void __tsan_acquire(void*);
[[gnu::weak]] void __tsan_release(void*);
#else
inline constexpr void (*__sanitizer_start_switch_fiber)(void**, const void*, std::size_t) = nullptr;
inline constexpr void (*__sanitizer_finish_switch_fiber)(void*, const void**,
                                                         std::size_t*) = nullptr;
inline constexpr void (*__asan_poison_memory_region)(const volatile void*, std::size_t) = nullptr;
inline constexpr void (*__asan_unpoison_memory_region)(const volatile void*, std::size_t) = nullptr;
inline constexpr void* (*__tsan_get_current_fiber)() = nullptr;
inline constexpr void* (*__tsan_create_fiber)(unsigned) = nullptr;
inline constexpr void (*__tsan_destroy_fiber)(void*) = nullptr;
inline constexpr void (*__tsan_switch_to_fiber)(void*, unsigned) = nullptr;
inline constexpr void (*__tsan_acquire)(void*) = nullptr;
inline constexpr void (*__tsan_release)(void*) = nullptr;
#endif
}

namespace normdrop::NORMDROP_DEVICE::emulation::sanitizer {

// Accesses to [memory, memory + bytes) are errors until allow().
inline void forbid(void* memory, std::size_t bytes) {
  if (__asan_poison_memory_region) __asan_poison_memory_region(memory, bytes);
}

inline void allow(void* memory, std::size_t bytes) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(memory, bytes);
}

// Whoever acquires `order` comes after all that was released to it.
inline void acquire(void* order) {
  if (__tsan_acquire) __tsan_acquire(order);
}

inline void release(void* order) {
  if (__tsan_release) __tsan_release(order);
}

}  // namespace normdrop::NORMDROP_DEVICE::emulation::sanitizer
