// Memory filled with one byte: the gradients of no rows (0) and, all bits set, not-a-numbers.
#pragma once

#include "cuda/engines/scratch.cuh"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr unsigned char byte_of_nan = 0xff;

static __global__ void __launch_bounds__(cuda_tuning::block_threads)
    fill_with_byte(unsigned char* target, unsigned char value, std::int64_t bytes) {
  const std::int64_t i =
      static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::block_threads + threadIdx.x;
  if (i < bytes) target[i] = value;
}

inline void fill_bytes(void* target, unsigned char value, std::int64_t bytes, void* stream) {
  if (target == nullptr || bytes == 0) return;
  launch("fill_with_byte", fill_with_byte,
         grid_of(divided_up(bytes, cuda_tuning::block_threads), cuda_tuning::block_threads), stream,
         static_cast<unsigned char*>(target), value, bytes);
}

}  // namespace normdrop::NORMDROP_DEVICE
