// The words and built-in variables that nvcc adds to C++, for a host compiler.
#pragma once

#include <math.h>  // fma, sqrt and others without std::, as kernels call them

#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

namespace normdrop::NORMDROP_DEVICE {

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Of the thread that runs; the scheduler sets them whenever it changes the thread.
extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;

}  // namespace normdrop::NORMDROP_DEVICE
