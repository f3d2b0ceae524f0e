// CUDA's error codes as exceptions.
#pragma once

#include <cuda_runtime.h>

namespace normdrop::NORMDROP_DEVICE::runtime {

// Throws std::bad_alloc where memory ran out, else DeviceError with "`name`: `what`: " and CUDA's text.
[[noreturn]] void fail(cudaError_t code, const char* name, const char* what);

// Builds no text while all is well: launches are to cost little.
inline void check(cudaError_t code, const char* name, const char* what) {
  if (code != cudaSuccess) fail(code, name, what);
}

}  // namespace normdrop::NORMDROP_DEVICE::runtime
