// Which library made an array, and what its streams and memory need.
#include "bindings/device/producers.h"

#include <cstdint>

#include "bindings/device/device_array.h"

namespace normdrop {
namespace {

// A module that somebody has imported; null otherwise. Nothing is imported here.
py::handle loaded(const char* name) {
  PyObject* modules = PyImport_GetModuleDict();
  return modules == nullptr ? nullptr : PyDict_GetItemString(modules, name);
}

bool is_instance(py::handle object, const char* module_name, const char* type_name) {
  const py::handle module = loaded(module_name);
  if (!module) return false;
  const py::object type = py::getattr(module, type_name, py::none());
  if (!PyType_Check(type.ptr())) return false;
  const int answer = PyObject_IsInstance(object.ptr(), type.ptr());
  if (answer < 0) throw py::error_already_set();
  return answer == 1;
}

void* as_stream(const py::object& number) {
  const auto value = number.cast<std::uintptr_t>();
  return value <= 1 ? nullptr : reinterpret_cast<void*>(value);  // 1 is the default stream as well
}

}  // namespace

Producer producer_of(py::handle object) {
  if (py::isinstance<DeviceArray>(object)) return Producer::ours;
  if (is_instance(object, "torch", "Tensor")) return Producer::torch;
  if (is_instance(object, "cupy", "ndarray")) return Producer::cupy;
  if (is_instance(object, "jax", "Array")) return Producer::jax;
  return Producer::other;
}

void* current_stream(Producer producer, int device) {
  if (producer == Producer::torch) {
    const py::object stream = loaded("torch").attr("cuda").attr("current_stream")(device);
    return as_stream(stream.attr("cuda_stream"));
  }
  if (producer == Producer::cupy) {
    return as_stream(loaded("cupy").attr("cuda").attr("get_current_stream")().attr("ptr"));
  }
  return nullptr;
}

bool frees_in_stream_order(Producer producer) {
  return producer == Producer::torch || producer == Producer::cupy || producer == Producer::ours;
}

}  // namespace normdrop
