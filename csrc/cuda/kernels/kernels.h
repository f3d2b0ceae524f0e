// The operations of the CUDA backend, as backend.cu puts them into its table.
#pragma once

#include "ops/device.h"
#include "ops/operations.h"

namespace normdrop::NORMDROP_DEVICE {

NORMDROP_OPERATIONS(NORMDROP_DECLARE_KERNEL)
void strided_copy(const StridedCopy& arguments);

}  // namespace normdrop::NORMDROP_DEVICE
