// The operations as Python sees them: arguments are checked, outputs made, the kernel called.
#pragma once

#include "bindings/checks/checks.h"

namespace normdrop {

void bind_layer_norm(py::module_& module);
void bind_batch_norm(py::module_& module);
void bind_running_stats(py::module_& module);
void bind_dropout(py::module_& module);

// An instance of the named result type of normdrop.results.
void require_named_tuple(Name name, py::handle object, const char* type);

}  // namespace normdrop
