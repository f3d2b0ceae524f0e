// Arrays in a device's memory that others made: taken in by DLPack or `__cuda_array_interface__`,
// without a copy, as what ArrayView needs to know of them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/checks/checks.h"
#include "bindings/device/dlpack.h"
#include "bindings/device/producers.h"
#include "ops/dtype.h"
#include "registry.h"

namespace normdrop {

// What is known of an array in a device's memory, and what keeps that memory.
struct DeviceImport {
  const Backend* backend = nullptr;
  Producer producer = Producer::other;
  char* data = nullptr;
  int device = 0;
  void* stream = nullptr;  // the producer's work on the array is in order here
  bool read_only = false;
  dlpack::DataType dtype{};
  std::vector<py::ssize_t> shape;
  std::vector<py::ssize_t> strides;  // bytes

  // At most one of these is set: what was taken out of a capsule, to be deleted once.
  dlpack::ManagedTensor* managed = nullptr;
  dlpack::VersionedTensor* versioned = nullptr;
  py::object owner;  // what must live as long as the memory, where nothing else keeps it

  DeviceImport() = default;
  DeviceImport(const DeviceImport&) = delete;
  DeviceImport& operator=(const DeviceImport&) = delete;
  ~DeviceImport();

  std::optional<DType> element_type() const;
  int item_bytes() const;
};

// What an array is wanted for. Whoever writes needs to be told of read-only memory, which the
// fastest way of borrowing does not tell.
enum class Access { read, write };

// Null where the object offers no memory of a device. Work of producers that have no current
// stream is made to precede what `stream` is given from now on; null is the default stream.
Imported import_device_array(Name name, py::handle object, Access access, void* stream);

// The backend for arrays on a device; RuntimeError with the cure where there is none.
const Backend& require_device_backend(Name name, py::handle object);

// Whether an object that is no NumPy array lies on a device, by what it says of itself.
bool is_device_array(py::handle object);

// DLPack's device of an object; type 0 where it does not say.
dlpack::Device dlpack_device(py::handle object);
bool is_on_device(dlpack::Device device);

std::string dtype_text(dlpack::DataType dtype);
dlpack::DataType dlpack_type(DType dtype);

// The ways in, each null where the object does not offer it.
Imported import_by_exchange_api(Name name, py::handle object, Access access);
Imported import_by_dlpack(Name name, py::handle object, Producer producer, void* stream);
Imported import_by_cuda_interface(Name name, py::handle object, Producer producer);

}  // namespace normdrop
