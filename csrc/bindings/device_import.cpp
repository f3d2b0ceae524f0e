#include "bindings/device_import.h"

#include <cstdio>

#include "bindings/array_view.h"
#include "bindings/device_array.h"
#include "bindings/runtime.h"

namespace normdrop {
namespace {

void refuse_gradient(Name name, py::handle object) {
  const py::object wanted = py::getattr(object, "requires_grad", py::none());
  if (wanted.ptr() != Py_True) return;
  fail_type(name, "must not require grad, got a " + type_text(object) +
                      " that does; pass .detach() of it");
}

// What the address says counts, not what the producer says: a wrong device number would send the
// kernel to memory that it cannot reach.
void find_device(Name name, DeviceImport* import) {
  for (const py::ssize_t size : import->shape) {
    if (size == 0) return;
  }
  const int device = import->backend->device->device_of(import->data);
  if (device >= 0) {
    import->device = device;
    return;
  }
  char address[32];
  std::snprintf(address, sizeof address, "%p", static_cast<void*>(import->data));
  fail_value(name, std::string("must lie in memory of a device of the backend '") +
                       import->backend->name + "', got the address " + address);
}

Imported import_own(py::handle object) {
  const auto& array = py::cast<const DeviceArray&>(object);
  auto import = std::make_shared<DeviceImport>();
  import->data = array.data();
  import->device = array.memory->device;
  import->stream = array.memory->stream;
  import->dtype = array.dtype;
  import->shape = array.shape;
  import->strides = array.strides;
  return import;
}

Imported import_by_any_protocol(Name name, py::handle object, Producer producer, Access access,
                                void* stream) {
  if (producer == Producer::ours) return import_own(object);
  if (Imported import = import_by_exchange_api(name, object, access)) return import;
  if (Imported import = import_by_dlpack(name, object, producer, stream)) return import;
  return import_by_cuda_interface(name, object, producer);
}

}  // namespace

DeviceImport::~DeviceImport() {
  if (managed != nullptr && managed->deleter != nullptr) managed->deleter(managed);
  if (versioned != nullptr && versioned->deleter != nullptr) versioned->deleter(versioned);
}

std::optional<DType> DeviceImport::element_type() const {
  if (dtype.lanes != 1) return std::nullopt;
  if (dtype.code == dlpack::bfloat && dtype.bits == 16) return DType::bfloat16;
  if (dtype.code != dlpack::floating) return std::nullopt;
  if (dtype.bits == 16) return DType::float16;
  if (dtype.bits == 32) return DType::float32;
  if (dtype.bits == 64) return DType::float64;
  return std::nullopt;
}

Imported import_device_array(Name name, py::handle object, Access access, void* stream) {
  const Producer producer = producer_of(object);
  Imported import = import_by_any_protocol(name, object, producer, access, stream);
  if (!import) return nullptr;
  if (producer == Producer::torch) refuse_gradient(name, object);
  import->backend = &require_device_backend(name, object);
  import->producer = producer;
  if (producer == Producer::jax) import->read_only = true;
  find_device(name, import.get());
  return import;
}

const Backend& require_device_backend(Name name, py::handle object) {
  const Backend* backend = device_backend();
  if (backend != nullptr) return *backend;
  fail_runtime(name, "is a " + type_text(object) + " on a device, and " + no_device_reason());
}

dlpack::Device dlpack_device(py::handle object) {
  const py::object method = py::getattr(object, "__dlpack_device__", py::none());
  if (method.is_none()) return {0, 0};
  try {
    const auto pair = method().cast<std::pair<int, int>>();
    return {pair.first, pair.second};
  } catch (py::error_already_set&) {
    return {0, 0};
  } catch (py::cast_error&) {
    return {0, 0};
  }
}

bool is_on_device(dlpack::Device device) {
  return device.type == dlpack::cuda || device.type == dlpack::cuda_managed;
}

bool is_device_array(py::handle object) {
  if (PyObject_TypeCheck(object.ptr(), py::detail::npy_api::get().PyArray_Type_)) return false;
  const dlpack::Device device = dlpack_device(object);
  return is_on_device(device) ||
         (device.type == 0 && py::hasattr(object, "__cuda_array_interface__"));
}

std::string dtype_text(dlpack::DataType dtype) {
  constexpr const char* names[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  if (dtype.code > dlpack::boolean) return "type code " + std::to_string(dtype.code) + " of DLPack";
  std::string text = names[dtype.code];
  if (dtype.code != dlpack::boolean) text += std::to_string(dtype.bits);
  if (dtype.lanes != 1) text += " in vectors of " + std::to_string(dtype.lanes);
  return text;
}

dlpack::DataType dlpack_type(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * bytes_of(dtype));
  return {dtype == DType::bfloat16 ? dlpack::bfloat : dlpack::floating, bits, 1};
}

}  // namespace normdrop
