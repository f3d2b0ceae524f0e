// New arrays on a device, of the kind of those that came in: made by the allocator of the library that
// made the arguments, or by our own.
#pragma once

#include "bindings/arrays/layout.h"
#include "bindings/operations/execution.h"

namespace normdrop {

struct DeviceOutput {
  py::object array;
  Imported import;
};

// Dense in that order of its axes, without contents.
DeviceOutput new_device_array(Execution& execution, DType dtype, const py::ssize_t* shape,
                              const MemoryOrder& order);

// What the caller gets: JAX takes our memory in when the work on it has been started, and not
// before, since its stream then waits for ours.
py::object handed_over(Execution& execution, const py::object& array);

}  // namespace normdrop
