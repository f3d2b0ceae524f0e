// Elements of one strided array to another, converted where the dtypes differ: how an array that no
// kernel takes as it lies is packed, and how a packed result is delivered.
#include "cuda/engines/scratch.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;

template <class Source, class Target>
__global__ void __launch_bounds__(threads) copy_elements(StridedCopy a, std::int64_t count) {
  std::int64_t rest = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (rest >= count) return;
  std::int64_t from = 0;
  std::int64_t to = 0;
  for (int d = a.rank - 1; d >= 0; --d) {
    const std::int64_t index = rest % a.shape[d];
    rest /= a.shape[d];
    from += index * a.source_strides[d];
    to += index * a.target_strides[d];
  }
  const Source value = static_cast<const Source*>(a.source)[from];
  Target* target = static_cast<Target*>(a.target) + to;
  if constexpr (sizeof(Source) == sizeof(Target)) {
    memcpy(target, &value, sizeof value);
  } else {
    *target = rounded<Target>(to_double(value));
  }
}

template <class Source, class Target>
void run(const StridedCopy& a) {
  std::int64_t count = 1;
  for (int d = 0; d < a.rank; ++d) count *= a.shape[d];
  if (count == 0) return;
  launch("copy_elements", copy_elements<Source, Target>,
         grid_of(divided_up(count, threads), threads), a.stream, a, count);
}

}  // namespace

void strided_copy(const StridedCopy& a) {
  if (a.source_dtype == a.target_dtype) {
    switch (bytes_of(a.source_dtype)) {
      case 2:
        return run<float16, float16>(a);
      case 4:
        return run<float, float>(a);
      default:
        return run<double, double>(a);
    }
  }
  if (a.source_dtype == DType::float32 && a.target_dtype == DType::float64) {
    return run<float, double>(a);
  }
  if (a.source_dtype == DType::float64 && a.target_dtype == DType::float32) {
    return run<double, float>(a);
  }
  throw DeviceError("strided_copy converts between float32 and float64 only");
}

}  // namespace normdrop::NORMDROP_DEVICE
