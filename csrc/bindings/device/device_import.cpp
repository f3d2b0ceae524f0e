// Arrays of other libraries in a device's memory: who offers them how.
#include "bindings/device/device_import.h"

#include <algorithm>
#include <cstdio>

#include "bindings/checks/checks.h"
#include "bindings/device/device_array.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {
namespace {

void refuse_gradient(Name name, py::handle object) {
  const py::object wanted = py::getattr(object, "requires_grad", py::none());
  if (wanted.ptr() != Py_True) return;
  fail_type(name, "must not require grad, got a " + type_text(object) +
                      " that does; pass .detach() of it");
}

std::string address_text(const DeviceImport& import) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%zx", reinterpret_cast<std::size_t>(import.data));
  return text;
}

// What the address says counts, not what the producer says: a wrong device number would send the
// kernel to memory that it cannot reach.
void find_device(Name name, DeviceImport* import) {
  const int device = import->backend->device->device_of(import->data);
  if (device < 0) {
    fail_value(name, std::string("must lie in memory of a device of the backend '") +
                         import->backend->name + "', got the address " + address_text(*import));
  }
  import->device = device;
}

// A device faults on what a processor only reads slowly.
void require_alignment(Name name, const DeviceImport& import) {
  auto bits = reinterpret_cast<std::uintptr_t>(import.data);
  for (std::size_t d = 0; d < import.shape.size(); ++d) {
    if (import.shape[d] > 1) bits |= static_cast<std::uintptr_t>(import.strides[d]);
  }
  if (bits % static_cast<std::uintptr_t>(import.item_bytes()) == 0) return;
  const auto rank = static_cast<int>(import.shape.size());
  fail_value(name, "must be aligned to its elements of " + std::to_string(import.item_bytes()) +
                       " bytes on a device, got the address " + address_text(import) +
                       " and strides " + shape_text(import.strides.data(), rank));
}

bool has_elements(const DeviceImport& import) {
  for (const py::ssize_t size : import.shape) {
    if (size == 0) return false;
  }
  return true;
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

// At least 1, so that nobody divides by what a producer may say.
int DeviceImport::item_bytes() const { return std::max(1, (dtype.bits * dtype.lanes + 7) / 8); }

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
  if (has_elements(*import)) {
    find_device(name, import.get());
    require_alignment(name, *import);
  }
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
