// Gradients of dropout_add_layer_norm: those of the norm at the sum, to which another gradient of the
// sum is added, and of which dropout makes the gradient of x before they are rounded.
#include "cpu/engines/axis_gradients.h"
#include "cpu/engines/dropout_add.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

#define NORMDROP_COMPILE(T)                                                      \
  template void axis_gradients<T, DropoutAddGradient<T>>(const AxisBackward<T>&, \
                                                         const DropoutAddGradient<T>&);
NORMDROP_EACH_ELEMENT(NORMDROP_COMPILE)

void dropout_add_layer_norm_backward(const DropoutAddLayerNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.reduced, [](const DropoutAddLayerNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      axis_gradients(axis_backward_of_sum<T>(a, a.mean), dropout_add_gradient<T>(a));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
