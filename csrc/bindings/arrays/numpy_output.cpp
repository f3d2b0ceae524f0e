// New NumPy arrays whose memory goes back to the pool with them.
#include "bindings/arrays/numpy_output.h"

#include "bindings/arrays/dtypes.h"
#include "bindings/arrays/output_pool.h"

namespace normdrop {
namespace {

using py::detail::npy_api;

void release_to_pool(PyObject* capsule) {
  auto* buffer =
      static_cast<output_pool::Buffer*>(PyCapsule_GetPointer(capsule, "normdrop.output_pool"));
  output_pool::release(*buffer);
  delete buffer;
}

}  // namespace

py::object new_numpy_array(DType dtype, const py::ssize_t* shape, const MemoryOrder& order) {
  auto& api = npy_api::get();
  py::ssize_t strides[max_rank];
  py::ssize_t bytes = bytes_of(dtype);
  for (int i = order.rank - 1; i >= 0; --i) {
    strides[order.axis[i]] = bytes;
    bytes *= shape[order.axis[i]];
  }
  PyObject* descriptor = api.PyArray_DescrFromType_(type_number(dtype));
  const auto total = static_cast<std::size_t>(bytes);
  bool is_c_order = true;
  for (int i = 0; i < order.rank; ++i) is_c_order = is_c_order && order.axis[i] == i;
  if (total < output_pool::smallest_bytes) {
    PyObject* array =
        api.PyArray_NewFromDescr_(api.PyArray_Type_, descriptor, order.rank, shape,
                                  is_c_order ? nullptr : strides, nullptr, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  }
  auto* buffer = new output_pool::Buffer(output_pool::acquire(total));
  PyObject* capsule = PyCapsule_New(buffer, "normdrop.output_pool", release_to_pool);
  if (capsule == nullptr) throw py::error_already_set();
  constexpr int flags = npy_api::NPY_ARRAY_WRITEABLE_ | npy_api::NPY_ARRAY_ALIGNED_;
  PyObject* array = api.PyArray_NewFromDescr_(api.PyArray_Type_, descriptor, order.rank, shape,
                                              strides, buffer->memory, flags, nullptr);
  if (array == nullptr) {
    Py_DECREF(capsule);
    throw py::error_already_set();
  }
  if (api.PyArray_SetBaseObject_(array, capsule) != 0) {
    Py_DECREF(array);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(array);
}

}  // namespace normdrop
