#include "bindings/array_view.h"

#include <algorithm>
#include <atomic>
#include <cmath>

namespace normdrop {
namespace {

using py::detail::array_descriptor_proxy;
using py::detail::array_proxy;
using py::detail::npy_api;

std::string prefix(Name name) { return std::string(name.function) + ": " + name.argument + " "; }

std::string dtype_text(PyObject* array) {
  return py::str(py::handle(array).attr("dtype")).cast<std::string>();
}

const char* dtype_name(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "float16", "bfloat16"};
  return names[static_cast<int>(dtype)];
}

constexpr int half_type_number = 23;         // NPY_HALF, which pybind11 does not name
constexpr int first_user_type_number = 256;  // NPY_USERDEF

// Looked up when the first array of a foreign dtype comes, under the GIL: ml_dtypes takes a while to
// import, and most programs never need it.
int bfloat16_type_number() {
  static std::atomic<int> number{-1};
  if (number.load() == -1) {
    const py::object scalar = py::module_::import("ml_dtypes").attr("bfloat16");
    number.store(py::dtype::from_args(scalar).num());
  }
  return number.load();
}

// (device type, id) of anything that speaks DLPack; -1 where it does not.
int dlpack_device(py::handle object) {
  if (!py::hasattr(object, "__dlpack_device__")) return -1;
  try {
    return object.attr("__dlpack_device__")().cast<std::pair<int, int>>().first;
  } catch (py::error_already_set&) {
    return -1;
  } catch (py::cast_error&) {
    return -1;
  }
}

[[noreturn]] void fail_not_an_array(Name name, py::handle object) {
  const std::string got = type_text(object);
  constexpr int cpu = 1;
  const int device = dlpack_device(object);
  if ((device > cpu || py::hasattr(object, "__cuda_array_interface__")) &&
      !PyObject_TypeCheck(object.ptr(), npy_api::get().PyArray_Type_)) {
    PyErr_SetString(PyExc_RuntimeError,
                    (prefix(name) + "is a " + got +
                     " on a device, and this build of normdrop has CPU backends only; pass a "
                     "numpy.ndarray")
                        .c_str());
    throw py::error_already_set();
  }
  std::string cure;
  if (device == cpu && !PyObject_TypeCheck(object.ptr(), npy_api::get().PyArray_Type_)) {
    cure = py::hasattr(object, "detach") ? "; pass .numpy() of it, after .detach() where it "
                                           "requires grad"
                                         : "; pass numpy.asarray() of it";
    if (!py::hasattr(object, "detach") && py::hasattr(object, "numpy"))
      cure = "; pass .numpy() of it";
  }
  fail_type(name, "must be a numpy.ndarray, got " + got + cure);
}

void require_exact_array(Name name, py::handle object) {
  if (Py_TYPE(object.ptr()) == npy_api::get().PyArray_Type_) return;
  fail_not_an_array(name, object);
}

[[noreturn]] void fail_dtype(Name name, const std::string& expected, PyObject* array) {
  std::string text = "must have dtype " + expected + ", got " + dtype_text(array);
  if (array_descriptor_proxy(array_proxy(array)->descr)->byteorder == '>') {
    text += " (byte order not native)";
  }
  fail_type(name, text);
}

bool has_dtype(PyObject* array, DType* dtype) {
  const auto* descriptor = array_descriptor_proxy(array_proxy(array)->descr);
  const int number = descriptor->type_num;
  if (number == npy_api::NPY_FLOAT_) {
    *dtype = DType::float32;
  } else if (number == npy_api::NPY_DOUBLE_) {
    *dtype = DType::float64;
  } else if (number == half_type_number) {
    *dtype = DType::float16;
  } else if (number >= first_user_type_number && number == bfloat16_type_number()) {
    *dtype = DType::bfloat16;
  } else {
    return false;
  }
  return descriptor->byteorder == '=' || descriptor->byteorder == '|';
}

ArrayView view_of(PyObject* object, DType dtype) {
  const auto* array = array_proxy(object);
  return {object,
          array->data,
          array->nd,
          array->dimensions,
          array->strides,
          dtype,
          static_cast<int>(bytes_of(dtype))};
}

ArrayView view_with_dtype(Name name, py::handle object, DType expected) {
  require_exact_array(name, object);
  DType dtype;
  if (!has_dtype(object.ptr(), &dtype) || dtype != expected) {
    fail_dtype(name, dtype_name(expected), object.ptr());
  }
  return view_of(object.ptr(), dtype);
}

void require_shape(Name name, const ArrayView& view, const py::ssize_t* shape, int rank) {
  if (view.rank == rank && std::equal(shape, shape + rank, view.shape)) return;
  fail_value(name, "must have shape " + shape_text(shape, rank) + ", got " +
                       shape_text(view.shape, view.rank));
}

struct Extent {
  char* begin;
  char* end;
};

Extent extent_of(const ArrayView& view) {
  Extent extent{view.data, view.data + view.item_bytes};
  for (int d = 0; d < view.rank; ++d) {
    const py::ssize_t reach = (view.shape[d] - 1) * view.strides[d];
    (reach < 0 ? extent.begin : extent.end) += reach;
  }
  return extent;
}

// Sorted by stride, each axis must step over everything that the smaller ones reach.
bool holds_no_element_twice(const ArrayView& view) {
  int order[max_rank];
  int count = 0;
  for (int d = 0; d < view.rank; ++d) {
    if (view.shape[d] > 1) order[count++] = d;
  }
  std::sort(order, order + count,
            [&](int a, int b) { return std::abs(view.strides[a]) < std::abs(view.strides[b]); });
  py::ssize_t reach = view.item_bytes;
  for (int i = 0; i < count; ++i) {
    const py::ssize_t stride = std::abs(view.strides[order[i]]);
    if (stride < reach) return false;
    reach += (view.shape[order[i]] - 1) * stride;
  }
  return true;
}

}  // namespace

void fail_value(Name name, const std::string& text) { throw py::value_error(prefix(name) + text); }

void fail_type(Name name, const std::string& text) { throw py::type_error(prefix(name) + text); }

int type_number(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return npy_api::NPY_FLOAT_;
    case DType::float64:
      return npy_api::NPY_DOUBLE_;
    case DType::float16:
      return half_type_number;
    case DType::bfloat16:
      return bfloat16_type_number();
  }
  return -1;
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
  return (array_proxy(object)->flags & npy_api::NPY_ARRAY_WRITEABLE_) != 0;
}

bool ArrayView::c_contiguous() const {
  return (array_proxy(object)->flags & npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0;
}

bool ArrayView::f_contiguous() const {
  return (array_proxy(object)->flags & npy_api::NPY_ARRAY_F_CONTIGUOUS_) != 0;
}

ArrayView require_array(Name name, py::handle object) {
  require_exact_array(name, object);
  DType dtype;
  if (!has_dtype(object.ptr(), &dtype)) {
    fail_dtype(name, "float16, bfloat16, float32 or float64", object.ptr());
  }
  return view_of(object.ptr(), dtype);
}

ArrayView require_single_or_double(Name name, py::handle object) {
  require_exact_array(name, object);
  DType dtype;
  if (!has_dtype(object.ptr(), &dtype) || bytes_of(dtype) == 2) {
    fail_dtype(name, "float32 or float64", object.ptr());
  }
  return view_of(object.ptr(), dtype);
}

ArrayView require_like(Name name, py::handle object, const ArrayView& like) {
  const ArrayView view = view_with_dtype(name, object, like.dtype);
  require_shape(name, view, like.shape, like.rank);
  return view;
}

ArrayView optional_parameter(Name name, py::handle object, DType x_dtype, const py::ssize_t* shape,
                             int rank) {
  if (object.is_none()) return {};
  require_exact_array(name, object);
  const bool half = bytes_of(x_dtype) == 2;
  DType dtype;
  if (!has_dtype(object.ptr(), &dtype) ||
      (dtype != x_dtype && !(half && dtype == DType::float32))) {
    const std::string own = dtype_name(x_dtype);
    fail_dtype(name, half ? own + " or float32" : own, object.ptr());
  }
  const ArrayView view = view_of(object.ptr(), dtype);
  require_shape(name, view, shape, rank);
  return view;
}

DType require_parameter_dtype(const char* function, DType x_dtype, const ArrayView& weight,
                              const ArrayView& bias) {
  if (!weight || !bias) return weight ? weight.dtype : (bias ? bias.dtype : x_dtype);
  if (weight.dtype == bias.dtype) return weight.dtype;
  fail_dtype({function, "bias"}, std::string(dtype_name(weight.dtype)) + " as weight has",
             bias.object);
}

ArrayView require_statistic(Name name, py::handle object, const py::ssize_t* shape, int rank) {
  const ArrayView view = view_with_dtype(name, object, DType::float64);
  require_shape(name, view, shape, rank);
  return view;
}

ArrayView optional_out(Name name, py::handle object, const ArrayView& like) {
  if (object.is_none()) return {};
  const ArrayView view = require_like(name, object, like);
  if (!view.writeable()) fail_value(name, "must be writeable, got a read-only array");
  if (view.size() > 0 && !holds_no_element_twice(view)) {
    fail_value(name, "must hold every element once, got an array that overlaps itself");
  }
  return view;
}

void require_no_overlap(Name out_name, const ArrayView& out, const char* input_name,
                        const ArrayView& input, bool same_allowed) {
  if (!out || !input || out.size() == 0 || input.size() == 0) return;
  if (same_allowed && out.data == input.data && out.rank == input.rank) {
    bool same = true;
    for (int d = 0; d < out.rank; ++d) {
      same = same && (out.shape[d] <= 1 || out.strides[d] == input.strides[d]);
    }
    if (same) return;
  }
  const Extent a = extent_of(out);
  const Extent b = extent_of(input);
  if (a.end <= b.begin || b.end <= a.begin) return;
  // Interleaved arrays share a range but no element; NumPy solves that exactly.
  const py::module_ numpy = py::module_::import("numpy");
  bool shared = true;
  try {
    shared = numpy
                 .attr("shares_memory")(py::handle(out.object), py::handle(input.object),
                                        py::arg("max_work") = 100000)
                 .cast<bool>();
  } catch (py::error_already_set& error) {
    if (!error.matches(numpy.attr("exceptions").attr("TooHardError"))) throw;
  }
  if (!shared) return;
  fail_value(out_name, std::string("must not share memory with ") + input_name +
                           (same_allowed ? ", unless it is the same array; got one that overlaps it"
                                         : "; got one that overlaps it"));
}

double require_number(Name name, py::handle object) {
  if (PyFloat_CheckExact(object.ptr())) return PyFloat_AS_DOUBLE(object.ptr());
  const bool is_text =
      PyUnicode_Check(object.ptr()) || PyBool_Check(object.ptr()) || PyBytes_Check(object.ptr());
  const double value = is_text ? -1.0 : PyFloat_AsDouble(object.ptr());
  if (is_text || (value == -1.0 && PyErr_Occurred())) {
    PyErr_Clear();
    fail_type(name, "must be a real number, got " + type_text(object));
  }
  return value;
}

double require_eps(Name name, py::handle object) {
  const double value = require_number(name, object);
  if (value >= 0.0) return value;
  fail_value(name, "must be 0 or greater, got " + py::str(object).cast<std::string>());
}

std::int64_t require_integer(Name name, py::handle object) {
  if (PyBool_Check(object.ptr()) || !PyIndex_Check(object.ptr())) {
    fail_type(name, "must be an integer, got " + type_text(object));
  }
  const py::ssize_t value = PyNumber_AsSsize_t(object.ptr(), nullptr);  // clips, does not raise
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

bool require_flag(Name name, py::handle object) {
  if (object.ptr() == Py_True) return true;
  if (object.ptr() == Py_False) return false;
  fail_type(name, "must be True or False, got " + type_text(object));
}

int require_axis(Name name, py::handle object, int rank) {
  const std::int64_t axis = require_integer(name, object);
  if (axis < -rank || axis >= rank) {
    fail_value(name, "must be from " + std::to_string(-rank) + " to " + std::to_string(rank - 1) +
                         " for an array of " + std::to_string(rank) + " axes, got " +
                         std::to_string(axis));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace normdrop
