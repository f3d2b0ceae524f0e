// What the passes of batch norm share.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
NORMDROP_INLINE double parameter(const void* values, std::int64_t channel, double otherwise) {
  return values ? static_cast<double>(static_cast<const T*>(values)[channel]) : otherwise;
}

// Whether channels alone would leave threads idle.
NORMDROP_INLINE bool few_channels(std::int64_t channels) {
  return channels < cpu::thread_count() * 4;
}

}  // namespace normdrop::NORMDROP_ISA
