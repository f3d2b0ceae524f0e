// Dropout, the sum with a residual and layer norm of that sum, a row (or a tile of columns) at a time:
// the sum is made and normalised while it is in cache.
#include "cpu/engines/dropout_add.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

void dropout_add_layer_norm_forward(const DropoutAddLayerNormForward& arguments) {
  with_wide_parameters(arguments, arguments.reduced, [](const DropoutAddLayerNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      normalise_axis<Moments>(axis_forward_of_sum<T>(a, a.mean), Prologue(dropout_add<T>(a)));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
