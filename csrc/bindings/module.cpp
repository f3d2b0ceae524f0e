// Contents of the compiled module.
#include <pybind11/pybind11.h>

#include "bindings/device/device_array.h"
#include "bindings/operations/operations.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {

void require_named_tuple(Name name, py::handle object, const char* type) {
  const py::object expected = py::module_::import("normdrop.results").attr(type);
  if (py::isinstance(object, expected)) return;
  fail_type(name, std::string("must be a ") + type + ", got " + type_text(object));
}

}  // namespace normdrop

PYBIND11_MODULE(_core, module) {
  normdrop::bind_runtime(module);
  normdrop::bind_device_array(module);
  normdrop::bind_layer_norm(module);
  normdrop::bind_batch_norm(module);
  normdrop::bind_running_stats(module);
  normdrop::bind_dropout(module);
}
