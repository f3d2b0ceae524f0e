// The table of the instruction set that this file is compiled for.
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {

extern const OpTable op_table;
const OpTable op_table = {NORMDROP_OPERATIONS(NORMDROP_TABLE_ENTRY)};

}  // namespace normdrop::NORMDROP_ISA
