// The table of the platform that this file is compiled for: a card, or its emulation on the host.
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {

extern const OpTable op_table;
const OpTable op_table = {NORMDROP_OPERATIONS(NORMDROP_TABLE_ENTRY)};

}  // namespace normdrop::NORMDROP_DEVICE
