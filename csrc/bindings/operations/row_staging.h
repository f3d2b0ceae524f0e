// Row-wise operations on arrays in the host's memory, computed on a device chunk by chunk. The
// arguments hold pointers to the host for what has rows, and to the device for the parameters.
#pragma once

#include "bindings/operations/execution.h"

namespace normdrop {

void call_by_rows(Execution& execution, const LayerNormForward& arguments);
void call_by_rows(Execution& execution, const BatchNormInference& arguments);
void call_by_rows(Execution& execution, const Dropout& arguments);

}  // namespace normdrop
