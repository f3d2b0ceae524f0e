// New arrays of the kind of those that came in: NumPy's, or made by the allocator of the library
// that made the arguments, or our own.
#pragma once

#include "bindings/operations/operands.h"

namespace normdrop {

// Dense in that order of its axes, without contents; the operand is not set.
Output new_array(Execution& execution, DType dtype, const py::ssize_t* shape,
                 const MemoryOrder& order);

// What the caller gets: JAX takes our memory in when the work on it has been started, and not
// before, since its stream then waits for ours.
py::object handed_over(Execution& execution, const py::object& array);

}  // namespace normdrop
