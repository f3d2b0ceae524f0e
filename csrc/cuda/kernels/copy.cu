// A plain copy, 16 bytes a thread at a time: the yardstick of the benchmark.
#include "cuda/engines/for_dtype.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;
constexpr int vectors = cuda_tuning::packs_per_thread;

__global__ void __launch_bounds__(threads)
    copy_vectors(const unsigned char* source, unsigned char* target, std::int64_t bytes,
                 bool aligned) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * vectors * threads;
  const auto at = [&](int k) { return (first + k * threads + threadIdx.x) * 16; };
  uint4 words[vectors];
#pragma unroll
  for (int k = 0; k < vectors; ++k) {
    if (aligned && at(k) + 16 <= bytes) words[k] = load_word_streaming<uint4>(source + at(k));
  }
#pragma unroll
  for (int k = 0; k < vectors; ++k) {
    if (aligned && at(k) + 16 <= bytes) {
      store_word_streaming(target + at(k), words[k]);
    } else {
      for (std::int64_t i = at(k); i < at(k) + 16 && i < bytes; ++i) target[i] = source[i];
    }
  }
}

}  // namespace

void copy(const Copy& a) {
  if (a.bytes == 0) return;
  const bool aligned = lies_aligned(a.source, 0, 16) && lies_aligned(a.target, 0, 16);
  launch("copy_vectors", copy_vectors,
         grid_of(divided_up(a.bytes, 16 * vectors * threads), threads), a.stream,
         static_cast<const unsigned char*>(a.source), static_cast<unsigned char*>(a.target),
         a.bytes, aligned);
}

}  // namespace normdrop::NORMDROP_DEVICE
