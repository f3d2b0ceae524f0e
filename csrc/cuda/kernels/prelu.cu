// Parametric rectifier (He et al. 2015) of (batch, channels, inner), one weight per channel:
//   y = x where x > 0, else weight * x
#include "cuda/engines/rectify.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/prelu.h"

namespace normdrop::NORMDROP_DEVICE {

void prelu_forward(const PreluForward& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    rectify<false, T>({.value = static_cast<const T*>(a.x),
                       .x = nullptr,
                       .out = static_cast<T*>(a.y),
                       .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                       .in = ShapeInPacks({a.batch, a.channels, a.inner}, vector_elements<T>),
                       .value_outer_stride = a.x_batch_stride,
                       .x_outer_stride = 0,
                       .out_outer_stride = a.y_batch_stride},
                      a.stream);
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
