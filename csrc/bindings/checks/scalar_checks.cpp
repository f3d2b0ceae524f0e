// Checks of arguments that are no arrays.
#include "bindings/checks/checks.h"

namespace normdrop {

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
