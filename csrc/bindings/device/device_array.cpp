// Our own arrays in a device's memory.
#include "bindings/device/device_array.h"

#include <stdexcept>
#include <string>

#include "bindings/arrays/layout.h"
#include "bindings/checks/checks.h"
#include "bindings/device/current_device.h"
#include "bindings/device/device_import.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {

DeviceMemory::DeviceMemory(const Backend& owner, int device_id, void* on_stream, std::int64_t bytes)
    : backend(&owner), device(device_id), stream(on_stream), data(nullptr) {
  if (bytes == 0) return;
  const CurrentDevice current(*owner.device, device);
  data = static_cast<char*>(owner.device->allocate(bytes, stream));
}

DeviceMemory::~DeviceMemory() {
  if (data == nullptr) return;
  const DeviceTable& table = *backend->device;
  try {
    const CurrentDevice current(table, device);
    try {
      table.release(data, stream);
    } catch (const DeviceError&) {  // the stream was somebody else's and is gone
      table.release(data, nullptr);
    }
  } catch (const DeviceError&) {  // the device is lost, and its memory with it
  }
}

std::int64_t DeviceArray::size() const {
  std::int64_t count = 1;
  for (const py::ssize_t length : shape) count *= length;
  return count;
}

py::tuple tuple_of(const std::vector<py::ssize_t>& values) {
  py::tuple result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = values[i];
  return result;
}

py::object numpy_dtype(dlpack::DataType dtype) {
  if (dtype.code == dlpack::bfloat) {
    return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
  }
  return py::dtype(dtype_text(dtype));
}

py::object copied_to_numpy(const DeviceImport& source) {
  const py::object result =
      py::module_::import("numpy").attr("empty")(tuple_of(source.shape), numpy_dtype(source.dtype));
  const auto target = py::reinterpret_borrow<py::array>(result);
  if (target.size() == 0) return result;
  const DeviceTable& table = *source.backend->device;
  const CurrentDevice current(table, source.device);
  const std::int64_t bytes = target.nbytes();
  const DeviceMemory packed(*source.backend, source.device, source.stream, bytes);
  StridedCopy copy{};
  // Elements are moved, not converted, so any type of the right size stands for the dtype's own.
  copy.source_dtype = copy.target_dtype = source.item_bytes() == 8   ? DType::float64
                                          : source.item_bytes() == 4 ? DType::float32
                                                                     : DType::float16;
  copy.rank = static_cast<int>(source.shape.size());
  std::int64_t dense = 1;
  for (int d = copy.rank - 1; d >= 0; --d) {
    copy.shape[d] = source.shape[d];
    copy.source_strides[d] = source.strides[d] / source.item_bytes();
    copy.target_strides[d] = dense;
    dense *= source.shape[d];
  }
  copy.source = source.data;
  copy.target = packed.data;
  copy.stream = source.stream;
  void* host = const_cast<void*>(target.data());
  const ReleasedGil released(true);
  table.strided_copy(copy);
  table.copy_to_host(host, packed.data, bytes, source.stream);
  table.synchronise(source.stream);
  return result;
}

DeviceArray copied_to_device(py::handle object, int device) {
  const Name name{"DeviceArray.from_numpy", "array"};
  const Backend* backend = device_backend();
  if (backend == nullptr) {
    throw std::runtime_error("DeviceArray.from_numpy: " + no_device_reason());
  }
  if (!py::isinstance<py::array>(object)) {
    fail_type(name, "must be a numpy.ndarray, got " + type_text(object));
  }
  const py::object dense = py::module_::import("numpy").attr("ascontiguousarray")(object);
  const auto array = py::reinterpret_borrow<py::array>(dense.attr("reshape")(object.attr("shape")));
  const auto text = py::str(object.attr("dtype")).cast<std::string>();
  DeviceArray result;
  result.dtype = text == "uint64" ? dlpack::DataType{dlpack::unsigned_integer, 64, 1}
                                  : dlpack_type(require_array(name, array).dtype);
  if (device < 0 || device >= backend->device->device_count()) {
    fail_value({"DeviceArray.from_numpy", "device"},
               "must be from 0 to " + std::to_string(backend->device->device_count() - 1) +
                   ", got " + std::to_string(device));
  }
  result.shape.assign(array.shape(), array.shape() + array.ndim());
  result.strides.resize(result.shape.size());
  py::ssize_t step = result.item_bytes();
  for (std::size_t d = result.shape.size(); d-- > 0;) {
    result.strides[d] = step;
    step *= result.shape[d];
  }
  const std::int64_t bytes = array.nbytes();
  result.memory = std::make_shared<DeviceMemory>(*backend, device, nullptr, bytes);
  if (bytes == 0) return result;
  const CurrentDevice current(*backend->device, device);
  backend->device->copy_to_device(result.data(), array.data(), bytes, nullptr);
  backend->device->synchronise(nullptr);  // the caller may change the source at once
  return result;
}

}  // namespace normdrop
