// Dropout, the sum with a residual and RMS norm of that sum, a row (or a tile of columns) at a time:
// the sum is made and normalised while it is in cache.
#include "cpu/engines/dropout_add.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

void dropout_add_rms_norm_forward(const DropoutAddRmsNormForward& arguments) {
  with_wide_parameters(arguments, arguments.reduced, [](const DropoutAddRmsNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      normalise_axis<Squares>(axis_forward_of_sum<T>(a, nullptr), Prologue(dropout_add<T>(a)));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
