// Memory of a device that we own, and `normdrop.DeviceArray`: the array in which results come back
// to callers whose library is not known by name.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

#include "bindings/device/dlpack.h"
#include "registry.h"

namespace normdrop {

namespace py = pybind11;

// Released on the stream it was made on, after what that stream was given until then.
struct DeviceMemory {
  const Backend* backend;
  int device;
  void* stream;
  char* data;  // null where there are no bytes

  DeviceMemory(const Backend& backend, int device, void* stream, std::int64_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
};

struct DeviceArray {
  std::shared_ptr<DeviceMemory> memory;
  dlpack::DataType dtype;
  std::vector<py::ssize_t> shape;
  std::vector<py::ssize_t> strides;  // bytes

  char* data() const { return memory->data; }
  std::int64_t size() const;
  int item_bytes() const { return dtype.bits / 8; }
};

// Elements of an array on a device as a new NumPy array, when all work before is done.
struct DeviceImport;
py::object copied_to_numpy(const DeviceImport& source);

// A NumPy array of one of the dtypes, or of uint64, as a new array on a device.
DeviceArray copied_to_device(py::handle array, int device);

py::tuple tuple_of(const std::vector<py::ssize_t>& values);

py::object numpy_dtype(dlpack::DataType dtype);

void bind_device_array(py::module_& module);

}  // namespace normdrop
