// Gradients of dropout_add_rms_norm: those of the norm at the sum, to which another gradient of the
// sum is added, and of which dropout makes the gradient of x before they are rounded.
#include "cpu/engines/dropout_add.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

void dropout_add_rms_norm_backward(const DropoutAddRmsNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.reduced, [](const DropoutAddRmsNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      axis_gradients(axis_backward_of_sum<T>(a, nullptr), dropout_add_gradient<T>(a));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
