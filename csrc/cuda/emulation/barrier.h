// Barriers of a block and of a cluster, and what else concerns a whole cluster.
#pragma once

#include "cuda/emulation/thread_state.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {

// The same variable in the shared memory of another block of the cluster.
void* cluster_address(void* shared, unsigned rank, const Site& site);

}  // namespace emulation

void __syncthreads(emulation::Site site = emulation::Site::current());
int __syncthreads_or(int predicate, emulation::Site site = emulation::Site::current());

// Fibers share one processor, which needs no fence.
inline void __threadfence() {}

unsigned cluster_rank();
void cluster_sync(emulation::Site site = emulation::Site::current());

template <class T>
T* cluster_address(T* shared, unsigned rank, emulation::Site site = emulation::Site::current()) {
  return static_cast<T*>(emulation::cluster_address(shared, rank, site));
}

}  // namespace normdrop::NORMDROP_DEVICE
