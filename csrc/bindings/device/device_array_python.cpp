// `normdrop.DeviceArray` as Python sees it, and as other libraries take it in.
#include "bindings/checks/checks.h"
#include "bindings/device/current_device.h"
#include "bindings/device/device_array.h"
#include "bindings/device/device_import.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {
namespace {

// What a capsule keeps: the memory, and the sizes in the form of DLPack.
template <class Managed>
struct Exported {
  Managed managed{};
  std::shared_ptr<DeviceMemory> memory;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  // elements
};

template <class Managed>
void delete_exported(Managed* managed) {
  delete static_cast<Exported<Managed>*>(managed->context);
}

// A capsule that nobody took still owns the array.
template <class Managed>
void drop_capsule(PyObject* capsule, const char* unused_name) {
  if (PyCapsule_IsValid(capsule, unused_name) == 0) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, unused_name));
  managed->deleter(managed);
}

template <class Managed>
Managed* exported(const DeviceArray& array) {
  auto* kept = new Exported<Managed>;
  kept->memory = array.memory;
  kept->shape.assign(array.shape.begin(), array.shape.end());
  for (const py::ssize_t stride : array.strides) {
    kept->strides.push_back(stride / array.item_bytes());
  }
  kept->managed.context = kept;
  kept->managed.deleter = delete_exported<Managed>;
  kept->managed.tensor = {array.data(),
                          {dlpack::cuda, array.memory->device},
                          static_cast<std::int32_t>(array.shape.size()),
                          array.dtype,
                          kept->shape.data(),
                          kept->strides.data(),
                          0};
  return &kept->managed;
}

py::object new_capsule(void* managed, const char* name, PyCapsule_Destructor drop) {
  PyObject* capsule = PyCapsule_New(managed, name, drop);
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

py::object versioned_capsule(const DeviceArray& array) {
  auto* managed = exported<dlpack::VersionedTensor>(array);
  managed->version = {dlpack::major_version, dlpack::minor_version};
  return new_capsule(managed, dlpack::versioned_capsule_name, [](PyObject* capsule) {
    drop_capsule<dlpack::VersionedTensor>(capsule, dlpack::versioned_capsule_name);
  });
}

py::object old_capsule(const DeviceArray& array) {
  return new_capsule(exported<dlpack::ManagedTensor>(array), dlpack::capsule_name,
                     [](PyObject* capsule) {
    drop_capsule<dlpack::ManagedTensor>(capsule, dlpack::capsule_name);
  });
}

// The consumer's stream waits for ours; None stands for the default stream.
void order_consumer(const DeviceArray& array, py::handle stream) {
  std::intptr_t number = dlpack::legacy_default_stream;
  if (!stream.is_none()) {
    number = static_cast<std::intptr_t>(require_integer({"__dlpack__", "stream"}, stream));
  }
  if (number == 0 || number < dlpack::no_synchronisation) {
    fail_value({"__dlpack__", "stream"},
               "must be None, -1 or the number of a stream, got " + std::to_string(number));
  }
  if (number == dlpack::no_synchronisation) return;
  void* theirs =
      number == dlpack::legacy_default_stream ? nullptr : reinterpret_cast<void*>(number);
  if (theirs == array.memory->stream) return;
  const DeviceTable& table = *array.memory->backend->device;
  const CurrentDevice current(table, array.memory->device);
  table.wait_for(theirs, array.memory->stream);
}

py::object export_dlpack(const DeviceArray& array, py::handle stream, py::handle max_version,
                         py::handle dl_device, py::handle copy) {
  const auto here = std::make_pair(static_cast<int>(dlpack::cuda), array.memory->device);
  if (!dl_device.is_none() && dl_device.cast<std::pair<int, int>>() != here) {
    throw py::buffer_error(
        "DeviceArray: __dlpack__ exports to the array's own device only; use "
        "to_numpy() for a copy on the host");
  }
  if (copy.ptr() == Py_True) throw py::buffer_error("DeviceArray: __dlpack__ makes no copies");
  order_consumer(array, stream);
  const bool versioned =
      !max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1;
  return versioned ? versioned_capsule(array) : old_capsule(array);
}

py::dict cuda_interface(const DeviceArray& array) {
  if (array.dtype.code == dlpack::bfloat) {
    throw py::attribute_error(
        "DeviceArray: __cuda_array_interface__ cannot express bfloat16; "
        "use DLPack");
  }
  const char kind = array.dtype.code == dlpack::unsigned_integer ? 'u' : 'f';
  py::dict interface;
  interface["shape"] = tuple_of(array.shape);
  interface["strides"] = tuple_of(array.strides);
  interface["typestr"] = "<" + std::string(1, kind) + std::to_string(array.item_bytes());
  interface["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(array.data()), false);
  interface["version"] = 3;
  const auto stream = reinterpret_cast<std::uintptr_t>(array.memory->stream);
  interface["stream"] =
      stream == 0 ? static_cast<std::uintptr_t>(dlpack::legacy_default_stream) : stream;
  return interface;
}

std::string text_of(const DeviceArray& array) {
  return "DeviceArray(shape=" +
         shape_text(array.shape.data(), static_cast<int>(array.shape.size())) +
         ", dtype=" + dtype_text(array.dtype) + ", device=" + std::to_string(array.memory->device) +
         ")";
}

py::object to_numpy(py::handle object) {
  const Imported import = import_device_array({"to_numpy", "array"}, object, Access::read, nullptr);
  if (!import) {
    fail_type({"to_numpy", "array"}, "must be an array on a device, got " + type_text(object));
  }
  return copied_to_numpy(*import);
}

// Streams as numbers, for callers that have no library to make them.
const DeviceTable& table_for_streams() {
  const Backend* backend = device_backend();
  if (backend == nullptr) throw std::runtime_error("new_stream: " + no_device_reason());
  return *backend->device;
}

void* stream_of(std::uintptr_t number) { return reinterpret_cast<void*>(number); }

void bind_streams(py::module_& module) {
  module.def("new_stream",
             [] { return reinterpret_cast<std::uintptr_t>(table_for_streams().new_stream()); });
  module.def("delete_stream",
             [](std::uintptr_t stream) { table_for_streams().delete_stream(stream_of(stream)); });
  module.def("synchronise", [](std::uintptr_t stream) {
    const DeviceTable& table = table_for_streams();
    const ReleasedGil released(true);
    table.synchronise(stream_of(stream));
  });
}

}  // namespace

void bind_device_array(py::module_& module) {
  py::class_<DeviceArray>(module, "DeviceArray",
                          "An array in a device's memory that normdrop owns.\n\n"
                          "Results are of this kind where the library of the arguments is not "
                          "known. Any library that speaks\nDLPack or ``__cuda_array_interface__`` "
                          "takes it in without a copy.")
      .def_static("from_numpy", &copied_to_device, py::arg("array"), py::arg("device") = 0,
                  "A copy of a NumPy array in the memory of a device.")
      .def("to_numpy", [](py::handle self) { return to_numpy(self); },
           "A copy as a NumPy array, when the work that makes it is done.")
      .def_property_readonly("shape", [](const DeviceArray& a) { return tuple_of(a.shape); })
      .def_property_readonly("strides", [](const DeviceArray& a) { return tuple_of(a.strides); },
                             "Bytes between neighbours along each axis.")
      .def_property_readonly("dtype", [](const DeviceArray& a) { return numpy_dtype(a.dtype); })
      .def_property_readonly("device", [](const DeviceArray& a) { return a.memory->device; },
                             "The number of the device.")
      .def_property_readonly("nbytes",
                             [](const DeviceArray& a) { return a.size() * a.item_bytes(); })
      .def_property_readonly("__cuda_array_interface__", &cuda_interface)
      .def("__dlpack_device__",
           [](const DeviceArray& a) {
    return py::make_tuple(static_cast<int>(dlpack::cuda), a.memory->device);
  })
      .def("__dlpack__", &export_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__reduce__", [](py::handle self) {
    return py::make_tuple(py::module_::import("normdrop.results").attr("restored_device_array"),
                          py::make_tuple(to_numpy(self), self.attr("device")));
  }).def("__repr__", &text_of);
  module.attr("DeviceArray").attr("__module__") = "normdrop";
  module.def("to_numpy", &to_numpy);
  module.def("is_device_array", &is_device_array);
  bind_streams(module);
}

}  // namespace normdrop
