// Backward of batch norm: with g = grad_output, x^ = (x - mean) * inv_std and means over a channel,
//   grad_x = ((g - mean(g)) - x^ * mean(g * x^)) * inv_std * weight
//   grad_weight = sum(g * x^),   grad_bias = sum(g)
// Frozen statistics are constants: grad_x = g * inv_std * weight. x^ is recomputed, never stored.
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void batch_norm_backward(const BatchNormBackward& a) {
  const ChannelShape shape{a.batch, a.channels, a.inner};
  if (shape.empty()) {
    const std::int64_t bytes = a.channels * bytes_of(a.parameter_dtype);
    fill_bytes(a.grad_weight, 0, bytes, a.stream);
    fill_bytes(a.grad_bias, 0, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  const double factor = a.frozen ? 0.0 : 1.0 / shape.count();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    backward_over_channels<T>(
        {.arrays = {.grad_output = static_cast<const T*>(a.grad_output),
                    .x = static_cast<const T*>(a.x),
                    .statistics = {.mean = a.mean, .inv_std = a.inv_std},
                    .grad_x = static_cast<T*>(a.grad_x),
                    .stream = a.stream},
         .shape = shape,
         .grad_output_batch_stride = a.grad_output_batch_stride,
         .x_batch_stride = a.x_batch_stride,
         .grad_x_batch_stride = a.grad_x_batch_stride,
         .weight = parameter_of<T>(a.weight, a.parameter_dtype),
         .grad_weight = parameter_gradient_of<T>(a.grad_weight, a.parameter_dtype),
         .grad_bias = parameter_gradient_of<T>(a.grad_bias, a.parameter_dtype),
         .mean_factors = {factor, factor}});
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
