// The operations as Python sees them: arguments are checked, outputs made, the kernel called.
#pragma once

#include "bindings/checks/checks.h"

namespace normdrop {

// All described operations (run.h), and what is told of them.
void bind_operations(py::module_& module);

// What has bindings of its own.
void bind_running_stats(py::module_& module);
void bind_dropout(py::module_& module);

}  // namespace normdrop
