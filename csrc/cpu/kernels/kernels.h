// The operations of one instruction set, as backend.cpp puts them into its table.
#pragma once

#include "ops/operations.h"

namespace normdrop::NORMDROP_ISA {

NORMDROP_OPERATIONS(NORMDROP_DECLARE_KERNEL)

}  // namespace normdrop::NORMDROP_ISA
