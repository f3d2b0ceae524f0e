// Gradients of RMS norm: those of layer norm (rows_backward.h) without the mean of g.
#include "cpu/engines/axis_arguments.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"
#include "ops/rms_norm.h"

namespace normdrop::NORMDROP_ISA {

void rms_norm_backward(const RmsNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.reduced, [](const RmsNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      axis_gradients(axis_backward<T>(a, nullptr), NoEpilogue{});
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
