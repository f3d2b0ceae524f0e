// RMS norm (Zhang, Sennrich 2019) over the middle axis of (outer, reduced, inner):
//   y = x * inv_std * weight + bias,   inv_std = 1 / sqrt(mean(x^2) + eps)
#include "cuda/engines/axis_forward_passes.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/rms_norm.h"

namespace normdrop::NORMDROP_DEVICE {

template void forward_over_axis<Squares>(const AxisForward<float>&);
template void forward_over_axis<Squares>(const AxisForward<double>&);
template void forward_over_axis<Squares>(const AxisForward<float16>&);
template void forward_over_axis<Squares>(const AxisForward<bfloat16>&);

void rms_norm_forward(const RmsNormForward& a) {
  if (nothing_to_normalise(a, nullptr)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    forward_over_axis<Squares>(axis_forward_of<T, Squares>(a, {.inv_std = a.inv_std}));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
