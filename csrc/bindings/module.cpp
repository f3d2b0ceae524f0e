// Contents of the compiled module.
#include <pybind11/pybind11.h>

#include "bindings/device/device_array.h"
#include "bindings/operations/operations.h"
#include "bindings/runtime/runtime.h"

PYBIND11_MODULE(_core, module) {
  normdrop::bind_runtime(module);
  normdrop::bind_configuration(module);
  normdrop::bind_measuring(module);
  normdrop::bind_device_array(module);
  normdrop::bind_operations(module);
  normdrop::bind_running_stats(module);
  normdrop::bind_dropout(module);
}
