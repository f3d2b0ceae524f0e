// Dropout, the sum with a residual, and layer norm of that sum:
//   sum = residual + dropout(x), rounded once;  y = norm(sum)
#include "cuda/engines/dropout_add.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/dropout_add_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void dropout_add_layer_norm_forward(const DropoutAddLayerNormForward& a) {
  if (nothing_to_normalise(a, a.mean)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    dropout_add_norm<T, MeanAndVariance>(a, {.mean = a.mean, .inv_std = a.inv_std});
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
