// Weight norm (Salimans, Kingma 2016) of v (outer, kept, inner):
//   w = v * g / norm,   norm = sqrt(sum of v * v over outer and inner)
// A norm of channels about 0 whose squares are not divided by their count.
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/weight_norm.h"

namespace normdrop::NORMDROP_DEVICE {

void weight_norm_forward(const WeightNormForward& a) {
  if (a.outer * a.kept * a.inner == 0) {
    fill_bytes(a.norm, 0, a.kept * bytes_of(DType::float64), a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    forward_over_channels<T>({.arrays = {.x = static_cast<const T*>(a.v),
                                         .y = static_cast<T*>(a.w),
                                         .weight = parameter_of<T>(a.g, a.parameter_dtype),
                                         .bias = {},
                                         .measure = {.centred = false, .averaged = false},
                                         .statistics = {.norm = a.norm},
                                         .stream = a.stream},
                              .shape = {a.outer, a.kept, a.inner},
                              .x_batch_stride = a.v_outer_stride,
                              .y_batch_stride = a.w_outer_stride});
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
