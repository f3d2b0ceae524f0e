// Layer norm (Ba, Kiros, Hinton 2016) over the middle axis of (outer, reduced, inner):
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
#include "cuda/engines/axis_forward_passes.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/layer_norm.h"

namespace normdrop::NORMDROP_DEVICE {

template void forward_over_axis<MeanAndVariance>(const AxisForward<float>&);
template void forward_over_axis<MeanAndVariance>(const AxisForward<double>&);
template void forward_over_axis<MeanAndVariance>(const AxisForward<float16>&);
template void forward_over_axis<MeanAndVariance>(const AxisForward<bfloat16>&);

void layer_norm_forward(const LayerNormForward& a) {
  if (nothing_to_normalise(a, a.mean)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    forward_over_axis<MeanAndVariance>(
        axis_forward_of<T, MeanAndVariance>(a, {.mean = a.mean, .inv_std = a.inv_std}));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
