// Backward of RMS norm: with g = grad_output * weight, x^ = x * inv_std and means over the reduced
// axis,
//   grad_x = (g - x^ * mean(g * x^)) * inv_std
//   grad_weight = sum over rows of grad_output * x^,   grad_bias = sum of grad_output
#include "cuda/engines/axis_backward.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/rms_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void rms_norm_backward(const RmsNormBackward& a) {
  if (no_gradients(a)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    backward_over_axis(axis_backward_of<T>(a, nullptr));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
