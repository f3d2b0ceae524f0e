// What the passes of batch norm share.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd_half.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
NORMDROP_INLINE double parameter(const void* values, std::int64_t channel, double otherwise) {
  return values ? static_cast<double>(static_cast<const wide<T>*>(values)[channel]) : otherwise;
}

// Channels' runs: all begin at the same place of a cache line, or are not streamed.
template <class T, class Arguments>
NORMDROP_INLINE Writing writing_of_runs(const Arguments& a, const void* output,
                                        std::int64_t batch_stride) {
  if (a.inner % pack_size != 0) return {};
  return writing_of<T>(output, a.inner, batch_stride, a.batch * a.channels * a.inner);
}

// Whether channels alone would leave threads idle.
NORMDROP_INLINE bool few_channels(std::int64_t channels) {
  return channels < cpu::thread_count() * 4;
}

}  // namespace normdrop::NORMDROP_ISA
