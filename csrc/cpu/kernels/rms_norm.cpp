// RMS norm (Zhang, Sennrich 2019) of x (outer, reduced, inner) over its middle axis.
//   y = x * inv_std * weight + bias,  inv_std = 1 / sqrt(mean(x^2) + eps)
// Squares are summed in double; float32 rows of ordinary size take single precision for what is
// written, with the rounding of inv_std carried along (normalise.h).
#include "ops/rms_norm.h"
#include "cpu/engines/axis_arguments.h"
#include "cpu/engines/normalise_axis.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

#define NORMDROP_COMPILE(T) \
  template void normalise_axis<Squares, T>(const AxisForward<T>&, const Prologue&);
NORMDROP_EACH_ELEMENT(NORMDROP_COMPILE)

void rms_norm_forward(const RmsNormForward& arguments) {
  with_wide_parameters(arguments, arguments.reduced, [](const RmsNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      normalise_axis<Squares>(axis_forward<T>(a, nullptr));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
