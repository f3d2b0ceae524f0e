// Dropout, the sum with a residual, and RMS norm of that sum:
//   sum = residual + dropout(x), rounded once;  y = norm(sum)
#include "cuda/engines/dropout_add.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/dropout_add_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void dropout_add_rms_norm_forward(const DropoutAddRmsNormForward& a) {
  if (nothing_to_normalise(a, nullptr)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    dropout_add_norm<T, Squares>(a, {.inv_std = a.inv_std});
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
