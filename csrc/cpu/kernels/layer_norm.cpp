// Layer norm (Ba, Kiros, Hinton 2016) of x (outer, reduced, inner) over its middle axis.
//   y = (x - mean) * inv_std * weight + bias
// Sums are double; float32 rows of ordinary size take single precision for what is written, with
// the roundings that matter carried along (normalise.h).
#include "ops/layer_norm.h"
#include "cpu/engines/axis_arguments.h"
#include "cpu/engines/normalise_axis.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

#define NORMDROP_COMPILE(T) \
  template void normalise_axis<Moments, T>(const AxisForward<T>&, const Prologue&);
NORMDROP_EACH_ELEMENT(NORMDROP_COMPILE)

void layer_norm_forward(const LayerNormForward& arguments) {
  with_wide_parameters(arguments, arguments.reduced, [](const LayerNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      normalise_axis<Moments>(axis_forward<T>(a, a.mean));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
