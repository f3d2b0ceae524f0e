// Gradients of scale and shift, a thread for each channel, sums in double:
//   grad_x = grad_output * weight,  grad_weight = sum(grad_output * x),  grad_bias = sum(grad_output)
#include "cuda/engines/for_dtype.cuh"
#include "cuda/engines/parameters.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"
#include "ops/scale_shift.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;

template <class T>
__global__ void __launch_bounds__(threads)
    gradients_of_channels(ScaleShiftBackward a, Parameter<T> weights,
                          ParameterGradient<T> grad_weight, ParameterGradient<T> grad_bias) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (channel >= a.channels) return;
  const double weight = static_cast<double>(weights.at(channel, 1));
  double sum_of_products = 0;
  double sum = 0;
  for (std::int64_t b = 0; b < a.batch; ++b) {
    const std::int64_t offset = channel * a.inner;
    const T* grad = static_cast<const T*>(a.grad_output) + b * a.grad_output_batch_stride + offset;
    const T* x = static_cast<const T*>(a.x) + b * a.x_batch_stride + offset;
    T* grad_x = static_cast<T*>(a.grad_x) + b * a.grad_x_batch_stride + offset;
    for (std::int64_t i = 0; i < a.inner; ++i) {
      const double g = static_cast<double>(widened(grad[i]));
      sum_of_products += g * static_cast<double>(widened(x[i]));
      sum += g;
      grad_x[i] = rounded<T>(g * weight);
    }
  }
  grad_weight.set(channel, sum_of_products);
  grad_bias.set(channel, sum);
}

}  // namespace

void scale_shift_backward(const ScaleShiftBackward& a) {
  if (a.channels == 0) return;
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    launch("gradients_of_channels", gradients_of_channels<T>,
           grid_of(divided_up(a.channels, threads), threads), a.stream, a,
           parameter_of<T>(a.weight, a.parameter_dtype),
           parameter_gradient_of<T>(a.grad_weight, a.parameter_dtype),
           parameter_gradient_of<T>(a.grad_bias, a.parameter_dtype));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
