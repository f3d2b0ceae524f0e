// Checks of arrays: kind, dtype, shape, place.
#include "bindings/checks/checks.h"

#include <algorithm>
#include <atomic>

#include "bindings/arrays/dtypes.h"
#include "bindings/device/device_import.h"

namespace normdrop {
namespace {

using py::detail::array_descriptor_proxy;
using py::detail::array_proxy;
using py::detail::npy_api;

std::string prefix(Name name) { return std::string(name.function) + ": " + name.argument + " "; }

bool is_any_numpy_array(py::handle object) {
  return PyObject_TypeCheck(object.ptr(), npy_api::get().PyArray_Type_);
}

// Looked up when the first array that is not a plain one comes, under the GIL.
bool is_memory_map(py::handle object) {
  static std::atomic<PyObject*> type{nullptr};
  if (type.load() == nullptr) {
    py::object found = py::module_::import("numpy").attr("memmap");
    type.store(found.release().ptr());
  }
  return reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) == type.load();
}

// A memory map's elements mean what those of a plain array do; other subclasses may redefine them.
bool is_numpy_array(py::handle object) {
  return Py_TYPE(object.ptr()) == npy_api::get().PyArray_Type_ ||
         (is_any_numpy_array(object) && is_memory_map(object));
}

bool is_bfloat16_of_torch(py::handle object) {
  return py::hasattr(object, "dtype") &&
         py::str(object.attr("dtype")).cast<std::string>() == "torch.bfloat16";
}

// How to make a plain array of what is none; empty where nobody can know.
std::string advice(py::handle object) {
  if (is_any_numpy_array(object)) {
    return py::hasattr(object, "filled") ? "; pass .filled(value) of it, or its .data"
                                         : "; pass numpy.asarray() of it";
  }
  if (py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object)) {
    return "; pass numpy.asarray() of it, with the dtype that is meant";
  }
  const bool on_host = dlpack_device(object).type == dlpack::cpu;
  if (py::hasattr(object, "detach")) {
    if (is_bfloat16_of_torch(object)) {
      return "; pass .detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16) of it";
    }
    return on_host ? "; pass .numpy() of it, after .detach() where it requires grad" : "";
  }
  if (py::hasattr(object, "to_numpy")) return "; pass .to_numpy() of it";
  if (on_host && py::hasattr(object, "numpy")) return "; pass .numpy() of it";
  const bool converts = on_host || py::hasattr(object, "__array__") ||
                        (PyObject_CheckBuffer(object.ptr()) && !PyBytes_Check(object.ptr()));
  return converts ? "; pass numpy.asarray() of it" : "";
}

[[noreturn]] void fail_not_an_array(Name name, py::handle object) {
  fail_type(name, "must be a numpy.ndarray, got " + type_text(object) + advice(object));
}

[[noreturn]] void fail_dtype(Name name, const std::string& expected, const ArrayView& view) {
  std::string text = "must have dtype " + expected + ", got ";
  if (view.import) fail_type(name, text + dtype_text(view.import->dtype));
  text += py::str(py::handle(view.object).attr("dtype")).cast<std::string>();
  if (array_descriptor_proxy(array_proxy(view.object)->descr)->byteorder == '>') {
    text += " (byte order not native)";
  }
  fail_type(name, text);
}

[[noreturn]] void fail_on_host_only(Name name, py::handle object) {
  require_device_backend(name, object);
  fail_type(name, "must be a numpy.ndarray like the other arrays, got a " + type_text(object) +
                      " on a device");
}

// An array before its dtype is looked at; `known` says whether it is one of ours.
struct Candidate {
  ArrayView view;
  bool known = false;
};

Candidate on_host(PyObject* object) {
  Candidate candidate;
  DType dtype = DType::float32;
  candidate.known = has_numpy_dtype(object, &dtype);
  candidate.view = view_of_numpy(object, dtype);
  return candidate;
}

Candidate on_device(PyObject* object, const Imported& import) {
  Candidate candidate;
  candidate.known = import->element_type().has_value();
  candidate.view = view_of_import(object, import);
  return candidate;
}

// What may stand where the leading array, `x` where there is one yet, is known: NumPy arrays beside
// a NumPy array, arrays of one device beside an array on it.
Candidate look_at(Name name, py::handle object, const ArrayView* x, Access access) {
  const bool host_only = x != nullptr && !x->import;
  if (is_numpy_array(object)) {
    if (x == nullptr || host_only) return on_host(object.ptr());
    fail_type(name, "must be an array on a device like the other arrays, got numpy.ndarray");
  }
  if (host_only && is_device_array(object)) fail_on_host_only(name, object);
  const Imported import =
      host_only ? nullptr
                : import_device_array(name, object, access, x ? x->import->stream : nullptr);
  if (!import) fail_not_an_array(name, object);
  if (x != nullptr && import->device != x->import->device) {
    fail_value(name, "must be on device " + std::to_string(x->import->device) +
                         " like the other arrays, got an array on device " +
                         std::to_string(import->device));
  }
  return on_device(object.ptr(), import);
}

Candidate candidate_of_dtype(Name name, py::handle object, const ArrayView& x, DType expected,
                             Access access) {
  const Candidate candidate = look_at(name, object, &x, access);
  if (candidate.known && candidate.view.dtype == expected) return candidate;
  fail_dtype(name, dtype_name(expected), candidate.view);
}

ArrayView require_float(Name name, py::handle object, const ArrayView* x) {
  const Candidate candidate = look_at(name, object, x, Access::read);
  if (!candidate.known || bytes_of(candidate.view.dtype) == 2) {
    fail_dtype(name, "float32 or float64", candidate.view);
  }
  return candidate.view;
}

}  // namespace

void fail_value(Name name, const std::string& text) { throw py::value_error(prefix(name) + text); }

void fail_type(Name name, const std::string& text) { throw py::type_error(prefix(name) + text); }

void fail_runtime(Name name, const std::string& text) {
  PyErr_SetString(PyExc_RuntimeError, (prefix(name) + text).c_str());
  throw py::error_already_set();
}

void fail_buffer(Name name, const std::string& text) {
  throw py::buffer_error(prefix(name) + text);
}

ArrayView require_array(Name name, py::handle object) {
  const Candidate candidate = look_at(name, object, nullptr, Access::read);
  if (!candidate.known) fail_dtype(name, "float16, bfloat16, float32 or float64", candidate.view);
  return candidate.view;
}

ArrayView require_single_or_double(Name name, py::handle object) {
  return require_float(name, object, nullptr);
}

ArrayView require_single_or_double(Name name, py::handle object, const ArrayView& x) {
  return require_float(name, object, &x);
}

ArrayView require_like(Name name, py::handle object, const ArrayView& like) {
  const ArrayView view = candidate_of_dtype(name, object, like, like.dtype, Access::read).view;
  require_shape(name, view, like.shape, like.rank);
  return view;
}

void require_shape(Name name, const ArrayView& view, const py::ssize_t* shape, int rank) {
  if (view.rank == rank && std::equal(shape, shape + rank, view.shape)) return;
  fail_value(name, "must have shape " + shape_text(shape, rank) + ", got " +
                       shape_text(view.shape, view.rank));
}

ArrayView require_parameter(Name name, py::handle object, Name leader, const ArrayView& x,
                            const py::ssize_t* shape, int rank) {
  const Candidate candidate = look_at(name, object, &x, Access::read);
  const bool half = bytes_of(x.dtype) == 2;
  const DType dtype = candidate.view.dtype;
  if (!candidate.known || (dtype != x.dtype && !(half && dtype == DType::float32))) {
    const std::string own = dtype_name(x.dtype) + std::string(" as ") + leader.argument + " has";
    fail_dtype(name, half ? own + ", or float32" : own, candidate.view);
  }
  require_shape(name, candidate.view, shape, rank);
  return candidate.view;
}

void require_dtype_of(Name name, const ArrayView& view, const char* first, DType dtype) {
  if (view.dtype == dtype) return;
  fail_dtype(name, std::string(dtype_name(dtype)) + " as " + first + " has", view);
}

bool has_shape_of_one(py::handle object) {
  if (!py::hasattr(object, "shape")) return false;
  return py::object(object.attr("shape")).equal(py::make_tuple(1));
}

void require_named_tuple(Name name, py::handle object, const char* type) {
  const py::object expected = py::module_::import("normdrop.results").attr(type);
  if (py::isinstance(object, expected)) return;
  fail_type(name, std::string("must be a ") + type + ", got " + type_text(object));
}

ArrayView require_statistic(Name name, py::handle object, const ArrayView& x,
                            const py::ssize_t* shape, int rank) {
  const ArrayView view = candidate_of_dtype(name, object, x, DType::float64, Access::read).view;
  require_shape(name, view, shape, rank);
  return view;
}

ArrayView optional_out(Name name, py::handle object, const ArrayView& like) {
  if (object.is_none()) return {};
  const ArrayView view = candidate_of_dtype(name, object, like, like.dtype, Access::write).view;
  require_shape(name, view, like.shape, like.rank);
  if (view.import && view.import->producer == Producer::jax) {
    fail_type(name, "must be writeable, got a JAX array, which nobody may write to");
  }
  if (!view.writeable()) fail_value(name, "must be writeable, got a read-only array");
  if (view.size() > 0 && !holds_no_element_twice(view)) {
    fail_value(name, "must hold every element once, got an array that overlaps itself");
  }
  return view;
}

ArrayView require_draw(Name name, py::handle object, const ArrayView& x) {
  const ArrayView view = look_at(name, object, &x, Access::read).view;
  if (!view.import || view.import->dtype.code != dlpack::unsigned_integer ||
      view.import->dtype.bits != 64) {
    fail_dtype(name, "uint64", view);
  }
  constexpr py::ssize_t seed_and_call = 2;
  require_shape(name, view, &seed_and_call, 1);
  return view;
}

}  // namespace normdrop
