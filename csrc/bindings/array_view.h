// The only place that checks arguments. A view is a borrowed NumPy array that passed its checks;
// every message reads `function: argument must ..., got ...`.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "ops/dtype.h"

namespace normdrop {

namespace py = pybind11;

inline constexpr int max_rank = 64;  // NumPy's own limit

// Which argument of which function a message speaks of.
struct Name {
  const char* function;
  const char* argument;
};

[[noreturn]] void fail_value(Name name, const std::string& text);
[[noreturn]] void fail_type(Name name, const std::string& text);

struct ArrayView {
  PyObject* object = nullptr;  // null: an optional argument that was None
  char* data = nullptr;
  int rank = 0;
  const py::ssize_t* shape = nullptr;
  const py::ssize_t* strides = nullptr;  // bytes
  DType dtype = DType::float32;
  int item_bytes = 4;

  explicit operator bool() const { return object != nullptr; }
  std::int64_t size() const;
  bool aligned() const;
  bool writeable() const;
  bool c_contiguous() const;
  bool f_contiguous() const;
};

// A plain array of float16, bfloat16, float32 or float64 in native byte order.
ArrayView require_array(Name name, py::handle object);

// As above, of float32 or float64.
ArrayView require_single_or_double(Name name, py::handle object);

// As above, of the dtype and shape of `like`.
ArrayView require_like(Name name, py::handle object, const ArrayView& like);

// None, or an array of that shape: of the dtype of x, or of float32 where x is of a half type.
ArrayView optional_parameter(Name name, py::handle object, DType x_dtype, const py::ssize_t* shape,
                             int rank);

// The dtype of weight, bias and their gradients: that of the one given, which is that of both where
// both are given; else that of x.
DType require_parameter_dtype(const char* function, DType x_dtype, const ArrayView& weight,
                              const ArrayView& bias);

// A float64 statistic of that shape.
ArrayView require_statistic(Name name, py::handle object, const py::ssize_t* shape, int rank);

// None, or an array to write to: dtype and shape of `like`, writeable, no element twice.
ArrayView optional_out(Name name, py::handle object, const ArrayView& like);

// `out` must not share memory with `input`, unless `same_allowed` and it is the very same array.
void require_no_overlap(Name out_name, const ArrayView& out, const char* input_name,
                        const ArrayView& input, bool same_allowed);

double require_eps(Name name, py::handle object);
double require_number(Name name, py::handle object);
std::int64_t require_integer(Name name, py::handle object);
bool require_flag(Name name, py::handle object);

// An axis of `rank` axes, negative ones counted from the end.
int require_axis(Name name, py::handle object, int rank);

// NumPy's number of a dtype; ml_dtypes gives bfloat16 a new one in every process.
int type_number(DType dtype);

std::string shape_text(const py::ssize_t* shape, int rank);
std::string type_text(py::handle object);

}  // namespace normdrop
