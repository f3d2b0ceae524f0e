// A bounded pool of recycled output memory. Touching fresh pages costs more than most kernels;
// a buffer whose array was dropped serves the next output of about its size.
#pragma once

#include <cstddef>

namespace normdrop::output_pool {

// Arrays below this many bytes use NumPy's own allocator, whose small blocks are recycled anyway.
inline constexpr std::size_t smallest_bytes = 262144;

struct Buffer {
  void* memory;
  std::size_t bytes;
};

// At least `bytes`, aligned to 64. std::bad_alloc where there is no memory.
Buffer acquire(std::size_t bytes);
void release(Buffer buffer);

std::size_t limit();
void set_limit(std::size_t bytes);  // 0 turns recycling off
void release_idle();
std::size_t idle_bytes();

}  // namespace normdrop::output_pool
