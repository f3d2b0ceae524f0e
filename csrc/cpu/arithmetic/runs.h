// Runs of neighbouring elements that make up a set, and how they are cut into chunks.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd_half.h"
#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

// `runs` runs of `length` neighbouring elements, `stride` elements apart.
template <class T>
struct Runs {
  const T* x;
  std::int64_t runs;
  std::int64_t length;
  std::int64_t stride;
  double scale = 1.0;  // a power of two, for values whose squares leave the range of a double
};

template <bool scaled>
NORMDROP_INLINE pack rescale(pack value, double scale) {
  if constexpr (scaled) return value * splat(scale);
  return value;
}

// How runs are cut into chunks: by their shape alone.
struct ChunkPlan {
  std::int64_t runs_per_chunk;
  std::int64_t length_per_chunk;
  std::int64_t chunks_per_run;  // above 1 only where a chunk is part of one run
  std::int64_t chunks;
};

template <class T>
inline constexpr std::int64_t chunk_elements =
    cpu::tuning::chunk_bytes / static_cast<std::int64_t>(sizeof(T));

template <class T>
NORMDROP_INLINE ChunkPlan plan_chunks(std::int64_t runs, std::int64_t length) {
  constexpr std::int64_t chunk = chunk_elements<T>;
  if (length > chunk) {
    const std::int64_t per_run = (length + chunk - 1) / chunk;
    return {1, chunk, per_run, runs * per_run};
  }
  const std::int64_t runs_per_chunk = chunk / (length > 0 ? length : 1);
  return {runs_per_chunk, length, 1, (runs + runs_per_chunk - 1) / runs_per_chunk};
}

template <class T>
NORMDROP_INLINE Runs<T> chunk_of(const Runs<T>& in, const ChunkPlan& plan, std::int64_t chunk) {
  Runs<T> part = in;
  const std::int64_t run = chunk / plan.chunks_per_run * plan.runs_per_chunk;
  const std::int64_t begin = chunk % plan.chunks_per_run * plan.length_per_chunk;
  part.x = in.x + run * in.stride + begin;
  part.runs = in.runs - run < plan.runs_per_chunk ? in.runs - run : plan.runs_per_chunk;
  part.length =
      in.length - begin < plan.length_per_chunk ? in.length - begin : plan.length_per_chunk;
  return part;
}

}  // namespace normdrop::NORMDROP_ISA
