// Scale and shift of x (batch, channels, inner):  y = x * weight + bias.
// The elements of one channel of one batch index are a thread's.
#include "ops/scale_shift.h"

#include "cuda/engines/for_dtype.cuh"
#include "cuda/engines/parameters.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;

template <class T>
__global__ void __launch_bounds__(threads)
    scale_lines(ScaleShiftForward a, Parameter<T> weights, Parameter<T> biases) {
  const std::int64_t line = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (line >= a.batch * a.channels) return;
  const std::int64_t batch = line / a.channels;
  const std::int64_t channel = line % a.channels;
  const T* x = static_cast<const T*>(a.x) + batch * a.x_batch_stride + channel * a.inner;
  T* y = static_cast<T*>(a.y) + batch * a.y_batch_stride + channel * a.inner;
  const double weight = static_cast<double>(weights.at(channel, 1));
  const double bias = static_cast<double>(biases.at(channel, 0));
  for (std::int64_t i = 0; i < a.inner; ++i) {
    y[i] = rounded<T>(static_cast<double>(widened(x[i])) * weight + bias);
  }
}

}  // namespace

void scale_shift(const ScaleShiftForward& a) {
  if (a.batch * a.channels == 0) return;
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    launch("scale_lines", scale_lines<T>,
           grid_of(divided_up(a.batch * a.channels, threads), threads), a.stream, a,
           parameter_of<T>(a.weight, a.parameter_dtype),
           parameter_of<T>(a.bias, a.parameter_dtype));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
