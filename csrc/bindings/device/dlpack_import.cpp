// Device arrays through DLPack.
#include "bindings/checks/checks.h"
#include "bindings/device/current_device.h"
#include "bindings/device/device_import.h"

namespace normdrop {
namespace {

// Strides are in elements, and absent for C order from producers before version 1.2.
void read_tensor(Name name, const dlpack::Tensor& tensor, DeviceImport* import) {
  if (tensor.rank < 0 || tensor.rank > max_rank) {
    fail_value(name, "must have at most " + std::to_string(max_rank) + " axes, got " +
                         std::to_string(tensor.rank));
  }
  import->dtype = tensor.dtype;
  import->device = tensor.device.id;
  import->shape.assign(tensor.shape, tensor.shape + tensor.rank);
  import->strides.resize(tensor.rank);
  py::ssize_t dense = import->item_bytes();
  for (int d = tensor.rank - 1; d >= 0; --d) {
    const bool given = tensor.strides != nullptr;
    import->strides[d] = given ? tensor.strides[d] * import->item_bytes() : dense;
    dense *= import->shape[d];
  }
  import->data = static_cast<char*>(tensor.data);
  if (import->data != nullptr) import->data += tensor.byte_offset;
}

[[noreturn]] void fail_version(Name name, dlpack::Version version) {
  fail_buffer(name, "must come by DLPack of major version " +
                        std::to_string(dlpack::major_version) + ", got version " +
                        std::to_string(version.major) + "." + std::to_string(version.minor));
}

// From here on the import calls the deleter, also where the array is refused.
void take_versioned(Name name, dlpack::VersionedTensor* tensor, DeviceImport* import) {
  import->versioned = tensor;
  if (tensor->version.major != dlpack::major_version) fail_version(name, tensor->version);
  import->read_only = (tensor->flags & dlpack::read_only_flag) != 0;
  read_tensor(name, tensor->tensor, import);
}

// Renaming the capsule is what makes us, and no longer the capsule, responsible for the deleter.
void rename(py::handle capsule, const char* used_name) {
  if (PyCapsule_SetName(capsule.ptr(), used_name) != 0) throw py::error_already_set();
}

void take_capsule(Name name, py::handle capsule, DeviceImport* import) {
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::versioned_capsule_name) != 0) {
    void* tensor = PyCapsule_GetPointer(capsule.ptr(), dlpack::versioned_capsule_name);
    rename(capsule, dlpack::used_versioned_capsule_name);
    take_versioned(name, static_cast<dlpack::VersionedTensor*>(tensor), import);
  } else if (PyCapsule_IsValid(capsule.ptr(), dlpack::capsule_name) != 0) {
    auto* tensor = static_cast<dlpack::ManagedTensor*>(
        PyCapsule_GetPointer(capsule.ptr(), dlpack::capsule_name));
    rename(capsule, dlpack::used_capsule_name);
    import->managed = tensor;
    read_tensor(name, tensor->tensor, import);
  } else {
    const char* got =
        PyCapsule_CheckExact(capsule.ptr()) != 0 ? PyCapsule_GetName(capsule.ptr()) : nullptr;
    fail_buffer(name, std::string("must give a capsule named 'dltensor' or 'dltensor_versioned', "
                                  "got ") +
                          (got != nullptr ? "'" + std::string(got) + "'" : type_text(capsule)));
  }
}

std::intptr_t stream_number(void* stream) {
  return stream == nullptr ? dlpack::legacy_default_stream
                           : reinterpret_cast<std::intptr_t>(stream);
}

// Producers older than version 1 know no `max_version`, and some no `stream`.
py::object ask_for_capsule(py::handle object, std::intptr_t stream) {
  const py::object method = object.attr("__dlpack__");
  try {
    return method(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(
                                                  dlpack::major_version, dlpack::minor_version));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  try {
    return method(py::arg("stream") = stream);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return method();
}

// The table of the major version that is spoken here; null where the type offers none.
const dlpack::ExchangeApi* exchange_api(py::handle object) {
  const py::handle type(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())));
  const py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::exchange_capsule_name) == 0) return nullptr;
  auto* header = static_cast<dlpack::ExchangeHeader*>(
      PyCapsule_GetPointer(capsule.ptr(), dlpack::exchange_capsule_name));
  while (header != nullptr && header->version.major != dlpack::major_version) {
    header = header->previous;
  }
  return reinterpret_cast<const dlpack::ExchangeApi*>(header);
}

void require_success(int status) {
  if (status != 0) throw py::error_already_set();
}

}  // namespace

Imported import_by_exchange_api(Name name, py::handle object, Access access) {
  const dlpack::ExchangeApi* api = exchange_api(object);
  if (api == nullptr) return nullptr;
  auto import = std::make_shared<DeviceImport>();
  dlpack::Device device;
  // A borrowed tensor carries no flags, so whoever wants to write asks for a managed one.
  if (access == Access::read && api->export_borrowed != nullptr) {
    dlpack::Tensor tensor{};
    require_success(api->export_borrowed(object.ptr(), &tensor));
    device = tensor.device;
    if (is_on_device(device)) read_tensor(name, tensor, import.get());
  } else {
    dlpack::VersionedTensor* tensor = nullptr;
    require_success(api->export_managed(object.ptr(), &tensor));
    take_versioned(name, tensor, import.get());
    device = tensor->tensor.device;
  }
  if (!is_on_device(device)) return nullptr;
  require_success(api->current_stream(device.type, device.id, &import->stream));
  return import;
}

Imported import_by_dlpack(Name name, py::handle object, Producer producer, void* stream) {
  const dlpack::Device device = dlpack_device(object);
  if (!is_on_device(device) || !py::hasattr(object, "__dlpack__")) return nullptr;
  // PyTorch exports from the current device only.
  const CurrentDevice current(*require_device_backend(name, object).device, device.id);
  auto import = std::make_shared<DeviceImport>();
  const bool has_stream = producer == Producer::torch || producer == Producer::cupy;
  import->stream = has_stream ? current_stream(producer, device.id) : stream;
  const py::object capsule =
      ask_for_capsule(object, has_stream ? dlpack::no_synchronisation : stream_number(stream));
  take_capsule(name, capsule, import.get());
  return import;
}

}  // namespace normdrop
