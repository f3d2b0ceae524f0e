// Gradients of layer norm; the formula stands in rows_backward.h. float32 rows of ordinary size take
// single precision (float_backward.h), all others double.
#include "cpu/engines/axis_arguments.h"
#include "cpu/engines/axis_gradients.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"
#include "ops/layer_norm.h"

namespace normdrop::NORMDROP_ISA {

#define NORMDROP_COMPILE(T) \
  template void axis_gradients<T, NoEpilogue>(const AxisBackward<T>&, const NoEpilogue&);
NORMDROP_EACH_ELEMENT(NORMDROP_COMPILE)

void layer_norm_backward(const LayerNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.reduced, [](const LayerNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      axis_gradients(axis_backward<T>(a, a.mean), NoEpilogue{});
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
