// Shared memory of a block: arrays of fixed size, and what the launch asked for.
#pragma once

namespace normdrop::NORMDROP_DEVICE {

#define SHARED_ARRAY(T, name, N) __shared__ T name[N]

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char normdrop_dynamic_shared[];
  return reinterpret_cast<T*>(normdrop_dynamic_shared);
}

}  // namespace normdrop::NORMDROP_DEVICE
