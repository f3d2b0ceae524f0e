// Batch norm (Ioffe and Szegedy 2015) of (batch, channels, inner) in training:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void batch_norm_forward(const BatchNormForward& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    forward_over_channels(channel_forward_of<T>(
        a, {.eps = a.eps}, {.mean = a.mean, .var = a.var, .inv_std = a.inv_std}));
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
