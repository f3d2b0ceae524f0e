// What an array says of itself, wherever it lies.
#include "bindings/checks/checks.h"
#include "bindings/device/device_import.h"

namespace normdrop {
namespace {

using py::detail::array_proxy;
using py::detail::npy_api;

bool has_flag(const ArrayView& view, int flag) {
  return (array_proxy(view.object)->flags & flag) != 0;
}

// Whether the axes, from the innermost out, are dense; axes of one element step over nothing.
bool is_dense(const ArrayView& view, bool last_axis_is_innermost) {
  if (view.size() == 0) return true;
  py::ssize_t expected = view.item_bytes;
  for (int i = 0; i < view.rank; ++i) {
    const int d = last_axis_is_innermost ? view.rank - 1 - i : i;
    if (view.shape[d] == 1) continue;
    if (view.strides[d] != expected) return false;
    expected *= view.shape[d];
  }
  return true;
}

}  // namespace

std::int64_t ArrayView::size() const {
  std::int64_t count = 1;
  for (int d = 0; d < rank; ++d) count *= shape[d];
  return count;
}

bool ArrayView::aligned() const {
  std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(data);
  for (int d = 0; d < rank; ++d) {
    if (shape[d] > 1) bits |= static_cast<std::uintptr_t>(strides[d]);
  }
  return bits % static_cast<std::uintptr_t>(item_bytes) == 0;
}

bool ArrayView::writeable() const {
  return import ? !import->read_only : has_flag(*this, npy_api::NPY_ARRAY_WRITEABLE_);
}

bool ArrayView::c_contiguous() const {
  return import ? is_dense(*this, true) : has_flag(*this, npy_api::NPY_ARRAY_C_CONTIGUOUS_);
}

bool ArrayView::f_contiguous() const {
  return import ? is_dense(*this, false) : has_flag(*this, npy_api::NPY_ARRAY_F_CONTIGUOUS_);
}

ArrayView view_of_numpy(PyObject* object, DType dtype) {
  const auto* array = array_proxy(object);
  return {object,
          array->data,
          array->nd,
          array->dimensions,
          array->strides,
          dtype,
          static_cast<int>(bytes_of(dtype)),
          nullptr};
}

ArrayView view_of_import(PyObject* object, const Imported& import) {
  return {object,
          import->data,
          static_cast<int>(import->shape.size()),
          import->shape.data(),
          import->strides.data(),
          import->element_type().value_or(DType::float32),
          import->item_bytes(),
          import};
}

std::string shape_text(const py::ssize_t* shape, int rank) {
  std::string text = "(";
  for (int d = 0; d < rank; ++d) {
    text += std::to_string(shape[d]);
    if (d + 1 < rank) text += ", ";
  }
  return text + (rank == 1 ? ",)" : ")");
}

std::string type_text(py::handle object) {
  const py::handle type(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())));
  const auto module = py::str(type.attr("__module__")).cast<std::string>();
  const auto name = py::str(type.attr("__qualname__")).cast<std::string>();
  return module == "builtins" ? name : module + "." + name;
}

}  // namespace normdrop
