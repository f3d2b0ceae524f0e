// Device arrays through `__cuda_array_interface__`.
#include <cstdlib>

#include "bindings/checks/checks.h"
#include "bindings/device/device_import.h"

namespace normdrop {
namespace {

// The interface's fields, whose wrong forms all have one message.
[[noreturn]] void fail_field(Name name, const char* field, py::handle value) {
  fail_value(name, std::string("must have a __cuda_array_interface__ with a valid '") + field +
                       "', got " + py::repr(value).cast<std::string>());
}

py::object field(Name name, const py::dict& interface, const char* key) {
  if (interface.contains(key)) return interface[key];
  fail_value(name, std::string("must have a __cuda_array_interface__ with '") + key +
                       "', got one without");
}

// '<f4': byte order, kind, bytes. PyTorch exports bfloat16 as '<V2', which is no element type.
dlpack::DataType element_type(Name name, const std::string& text) {
  const std::string kinds = "iufcb";
  constexpr std::uint8_t codes[] = {dlpack::signed_integer, dlpack::unsigned_integer,
                                    dlpack::floating, dlpack::complex, dlpack::boolean};
  if (text == "<V2") {
    fail_type(name,
              "must have an element type, got '<V2', which may be bfloat16; "
              "__cuda_array_interface__ cannot say so, pass an array that offers DLPack");
  }
  const std::size_t kind = text.size() < 3 ? std::string::npos : kinds.find(text[1]);
  const int bytes = text.size() < 3 ? 0 : std::atoi(text.c_str() + 2);
  const bool native = !text.empty() && (text[0] == '<' || text[0] == '|');
  if (kind == std::string::npos || !native || bytes < 1 || bytes > 16) {
    fail_type(name, "must have a float dtype in native byte order, got '" + text + "'");
  }
  return {codes[kind], static_cast<std::uint8_t>(8 * bytes), 1};
}

std::vector<py::ssize_t> sizes(Name name, const char* key, const py::object& value) {
  if (!PyTuple_Check(value.ptr())) fail_field(name, key, value);
  std::vector<py::ssize_t> result;
  for (const py::handle item : py::reinterpret_borrow<py::tuple>(value)) {
    if (!PyIndex_Check(item.ptr())) fail_field(name, key, value);
    result.push_back(PyNumber_AsSsize_t(item.ptr(), nullptr));
  }
  if (static_cast<int>(result.size()) > max_rank) fail_field(name, key, value);
  return result;
}

void read_shape(Name name, const py::dict& interface, DeviceImport* import) {
  import->shape = sizes(name, "shape", field(name, interface, "shape"));
  const py::object strides =
      interface.contains("strides") ? py::object(interface["strides"]) : py::none();
  if (!strides.is_none()) {
    import->strides = sizes(name, "strides", strides);
    if (import->strides.size() != import->shape.size()) fail_field(name, "strides", strides);
    return;
  }
  import->strides.resize(import->shape.size());
  py::ssize_t dense = import->item_bytes();
  for (std::size_t d = import->shape.size(); d-- > 0;) {
    import->strides[d] = dense;
    dense *= import->shape[d];
  }
}

void read_data(Name name, const py::object& value, DeviceImport* import) {
  if (!PyTuple_Check(value.ptr()) || PyTuple_GET_SIZE(value.ptr()) != 2) {
    fail_field(name, "data", value);
  }
  const auto pair = py::reinterpret_borrow<py::tuple>(value);
  const py::object address = pair[0];
  if (!PyLong_Check(address.ptr())) fail_field(name, "data", value);
  import->data = reinterpret_cast<char*>(address.cast<std::uintptr_t>());
  import->read_only = PyObject_IsTrue(py::object(pair[1]).ptr()) == 1;
}

// Since version 3: the stream on which the array is complete. None means that nobody has to wait,
// 1 is the default stream, 0 is ruled out as ambiguous.
void* stream_of(Name name, const py::dict& interface) {
  if (!interface.contains("stream")) return nullptr;
  const py::object value = interface["stream"];
  if (value.is_none()) return nullptr;
  if (!PyLong_Check(value.ptr())) fail_field(name, "stream", value);
  const auto number = value.cast<std::uintptr_t>();
  if (number == 0) fail_field(name, "stream", value);
  return number == 1 ? nullptr : reinterpret_cast<void*>(number);
}

}  // namespace

Imported import_by_cuda_interface(Name name, py::handle object, Producer producer) {
  // Who says by DLPack that the array is elsewhere is believed.
  const dlpack::Device device = dlpack_device(object);
  if (device.type != 0 && !is_on_device(device)) return nullptr;
  const py::object value = py::getattr(object, "__cuda_array_interface__", py::none());
  if (value.is_none()) return nullptr;
  require_device_backend(name, object);
  if (!PyDict_Check(value.ptr())) fail_field(name, "dict", value);
  const auto interface = py::reinterpret_borrow<py::dict>(value);
  if (interface.contains("mask") && !py::object(interface["mask"]).is_none()) {
    fail_type(name, "must not be masked, got a " + type_text(object) + " with a mask");
  }
  auto import = std::make_shared<DeviceImport>();
  const py::object typestr = field(name, interface, "typestr");
  if (!PyUnicode_Check(typestr.ptr())) fail_field(name, "typestr", typestr);
  import->dtype = element_type(name, typestr.cast<std::string>());
  read_shape(name, interface, import.get());
  read_data(name, field(name, interface, "data"), import.get());
  import->stream = stream_of(name, interface);
  if (producer == Producer::torch || producer == Producer::cupy) {
    import->stream = current_stream(producer, import->device);
  }
  import->owner = py::reinterpret_borrow<py::object>(object);
  return import;
}

}  // namespace normdrop
