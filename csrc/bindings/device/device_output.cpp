// Outputs from the allocator of the library whose array leads the call: PyTorch, CuPy, or our own.
#include "bindings/device/device_output.h"

#include "bindings/arrays/dtypes.h"

namespace normdrop {
namespace {

// Everything about the new array but its memory.
Imported described(Execution& execution, DType dtype, const py::ssize_t* shape,
                   const MemoryOrder& order) {
  auto import = std::make_shared<DeviceImport>();
  import->backend = &execution.backend();
  import->producer = execution.leader()->producer;
  import->device = execution.device();
  import->stream = execution.stream();
  import->dtype = dlpack_type(dtype);
  import->shape.assign(shape, shape + order.rank);
  import->strides.resize(order.rank);
  py::ssize_t step = bytes_of(dtype);
  for (int i = order.rank - 1; i >= 0; --i) {
    import->strides[order.axis[i]] = step;
    step *= shape[order.axis[i]];
  }
  return import;
}

// Libraries say in their own words that memory ran out: PyTorch's OutOfMemoryError is a RuntimeError.
template <class Allocate>
py::object memory_from(const char* library, Allocate&& allocate) {
  try {
    return allocate();
  } catch (py::error_already_set& error) {
    const auto name = error.type().attr("__name__").cast<std::string>();
    if (name != "OutOfMemoryError") throw;
    const std::string text = std::string("no memory of the device for a result, says ") + library +
                             ": " + py::str(error.value()).cast<std::string>();
    py::raise_from(error, PyExc_MemoryError, text.c_str());
    throw py::error_already_set();
  }
}

// From torch's caching allocator, on the current stream, which is ours.
py::object new_torch_tensor(Execution& execution, DType dtype, DeviceImport* import) {
  const py::handle x(execution.leader_object());
  const py::module_ torch = py::module_::import("torch");
  py::tuple strides(import->strides.size());
  for (std::size_t i = 0; i < import->strides.size(); ++i) {
    strides[i] = import->strides[i] / bytes_of(dtype);
  }
  const bool same = execution.leader()->element_type() == dtype;
  const py::object element = same ? x.attr("dtype") : torch.attr(dtype_name(dtype));
  const py::object tensor = memory_from("PyTorch", [&] {
    return torch.attr("empty_strided")(tuple_of(import->shape), strides, py::arg("dtype") = element,
                                       py::arg("device") = x.attr("device"));
  });
  import->data = reinterpret_cast<char*>(tensor.attr("data_ptr")().cast<std::uintptr_t>());
  return tensor;
}

// CuPy makes C order only; other orders are its transposed views.
py::object new_cupy_array(Execution& execution, DType dtype, const MemoryOrder& order,
                          DeviceImport* import) {
  const py::module_ cupy = py::module_::import("cupy");
  const bool same = execution.leader()->element_type() == dtype;
  const py::object element = same ? py::object(py::handle(execution.leader_object()).attr("dtype"))
                                  : numpy_dtype(import->dtype);
  py::tuple shape(order.rank);
  py::tuple axes(order.rank);
  for (int i = 0; i < order.rank; ++i) {
    shape[i] = import->shape[order.axis[i]];
    axes[order.axis[i]] = i;
  }
  const py::object array = memory_from("CuPy", [&] { return cupy.attr("empty")(shape, element); });
  import->data = reinterpret_cast<char*>(array.attr("data").attr("ptr").cast<std::uintptr_t>());
  return order.rank > 1 ? array.attr("transpose")(axes) : array;
}

py::object new_own_array(Execution& execution, DeviceImport* import) {
  DeviceArray array{nullptr, import->dtype, import->shape, import->strides};
  array.memory = execution.allocate(array.size() * array.item_bytes());
  import->data = array.data();
  import->producer = Producer::ours;
  return py::cast(std::move(array));
}

// JAX has no float64 unless it is told to: statistics then stay arrays of ours, since rounded ones
// would spoil gradients.
bool jax_takes(const DeviceArray& array) {
  if (array.item_bytes() != 8) return true;
  return py::module_::import("jax").attr("config").attr("jax_enable_x64").cast<bool>();
}

}  // namespace

DeviceOutput new_device_array(Execution& execution, DType dtype, const py::ssize_t* shape,
                              const MemoryOrder& order) {
  const Imported import = described(execution, dtype, shape, order);
  switch (import->producer) {
    case Producer::torch:
      return {new_torch_tensor(execution, dtype, import.get()), import};
    case Producer::cupy:
      return {new_cupy_array(execution, dtype, order, import.get()), import};
    default:
      return {new_own_array(execution, import.get()), import};
  }
}

py::object handed_over(Execution& execution, const py::object& array) {
  if (!execution.leader() || execution.leader()->producer != Producer::jax) return array;
  if (!py::isinstance<DeviceArray>(array) || !jax_takes(py::cast<const DeviceArray&>(array))) {
    return array;
  }
  return py::module_::import("jax").attr("dlpack").attr("from_dlpack")(array);
}

}  // namespace normdrop
