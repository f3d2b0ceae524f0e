// Backward of weight norm, of v (outer, kept, inner):
//   grad_g = sum(grad_w * v) / norm,   grad_v = g / norm * (grad_w - v / norm * grad_g)
// That of a norm of channels with x^ = v / norm, without a mean of the gradient and with the sum
// itself in the place of the other mean.
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/weight_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
void backward(const WeightNormBackward& a) {
  backward_over_channels<T>(
      {.arrays = {.grad_output = static_cast<const T*>(a.grad_w),
                  .x = static_cast<const T*>(a.v),
                  .statistics = {.mean = nullptr, .inv_std = nullptr, .norm = a.norm},
                  .grad_x = static_cast<T*>(a.grad_v),
                  .stream = a.stream},
       .shape = {a.outer, a.kept, a.inner},
       .grad_output_batch_stride = a.grad_w_outer_stride,
       .x_batch_stride = a.v_outer_stride,
       .grad_x_batch_stride = a.grad_v_outer_stride,
       .weight = parameter_of<T>(a.g, a.parameter_dtype),
       .grad_weight = parameter_gradient_of<T>(a.grad_g, a.parameter_dtype),
       .grad_bias = {},
       .mean_factors = {0.0, 1.0}});
}

}  // namespace

void weight_norm_backward(const WeightNormBackward& a) {
  if (a.outer * a.kept * a.inner == 0) {
    fill_bytes(a.grad_g, 0, a.kept * bytes_of(a.parameter_dtype), a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
}

}  // namespace normdrop::NORMDROP_DEVICE
