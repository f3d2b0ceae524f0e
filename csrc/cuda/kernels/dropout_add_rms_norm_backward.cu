// Backward of dropout, the sum with a residual, and RMS norm of that sum:
//   grad_residual = the norm's gradient at the sum + grad_sum;  grad_x = dropout(grad_residual)
#include "cuda/engines/dropout_add_backward.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/dropout_add_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void dropout_add_rms_norm_backward(const DropoutAddRmsNormBackward& a) {
  if (no_gradients(a)) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype,
            [&](auto element) { dropout_add_norm_backward<decltype(element)>(a, nullptr); });
}

}  // namespace normdrop::NORMDROP_DEVICE
