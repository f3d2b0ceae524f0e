// Gradients of scale and shift, a channel at a time, sums in double:
//   grad_x = grad_output * weight,  grad_weight = sum(grad_output * x),  grad_bias = sum(grad_output)
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"
#include "ops/scale_shift.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void backward_of_channel(const ScaleShiftBackward& a, std::int64_t channel) {
  const pack weight = splat(parameter<T>(a.weight, channel, 1.0));
  pack sum_of_products = splat(0.0);
  pack sum = splat(0.0);
  for (std::int64_t b = 0; b < a.batch; ++b) {
    const std::int64_t offset = channel * a.inner;
    const T* grad = static_cast<const T*>(a.grad_output) + b * a.grad_output_batch_stride + offset;
    const T* x = static_cast<const T*>(a.x) + b * a.x_batch_stride + offset;
    T* grad_x = static_cast<T*>(a.grad_x) + b * a.grad_x_batch_stride + offset;
    for_each_pack(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = keep(load(grad + i, extent), extent);
      sum_of_products = multiply_add(g, keep(load(x + i, extent), extent), sum_of_products);
      sum = sum + g;
      store(grad_x + i, g * weight, extent);
    });
  }
  wide<T>* grad_weight = static_cast<wide<T>*>(a.grad_weight);
  wide<T>* grad_bias = static_cast<wide<T>*>(a.grad_bias);
  if (grad_weight) grad_weight[channel] = static_cast<wide<T>>(sum_of_lanes(sum_of_products));
  if (grad_bias) grad_bias[channel] = static_cast<wide<T>>(sum_of_lanes(sum));
}

}  // namespace

void scale_shift_backward(const ScaleShiftBackward& arguments) {
  with_wide_gradients(arguments, arguments.channels, [](const ScaleShiftBackward& a) {
    for_dtype(a.dtype, [&](auto element) {
      parallel_for(a.channels, a.batch * a.inner, [&](std::int64_t channel) {
        backward_of_channel<decltype(element)>(a, channel);
      });
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
