// Clusters of blocks: rank, barrier and each other's shared memory. Architectures before sm_90 have
// none; the functions compile there so that one source serves all, and trap if ever reached.
#pragma once

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

__device__ __forceinline__ unsigned cluster_rank() {
#if __CUDA_ARCH__ >= 900
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  __trap();
  return 0;
#endif
}

// Release and acquire, so that shared memory written before is seen by the whole cluster after.
__device__ __forceinline__ void cluster_sync() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
  __trap();
#endif
}

// The same variable in the shared memory of block `rank`.
template <class T>
__device__ __forceinline__ T* cluster_address(T* shared, unsigned rank) {
#if __CUDA_ARCH__ >= 900
  std::uint64_t address;
  asm("mapa.u64 %0, %1, %2;"
      : "=l"(address)
      : "l"(reinterpret_cast<std::uint64_t>(shared)), "r"(rank));
  return reinterpret_cast<T*>(address);
#else
  __trap();
  return shared;
#endif
}

}  // namespace normdrop::NORMDROP_DEVICE
