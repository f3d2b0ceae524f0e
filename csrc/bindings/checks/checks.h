// The only place that checks arguments; every message reads `function: argument must ..., got ...`.
#pragma once

#include <string>

#include "bindings/arrays/array_view.h"

namespace normdrop {

// Which argument of which function a message speaks of.
struct Name {
  const char* function;
  const char* argument;
};

[[noreturn]] void fail_value(Name name, const std::string& text);
[[noreturn]] void fail_type(Name name, const std::string& text);
[[noreturn]] void fail_runtime(Name name, const std::string& text);
[[noreturn]] void fail_buffer(Name name, const std::string& text);

// The array that leads a call, from whose place the others must be: a plain array or a memory map of
// float16, bfloat16, float32 or float64 in native byte order.
ArrayView require_array(Name name, py::handle object);

// As above, of float32 or float64; with x, an array beside it.
ArrayView require_single_or_double(Name name, py::handle object);
ArrayView require_single_or_double(Name name, py::handle object, const ArrayView& x);

// Of the dtype and shape of `like`, beside it.
ArrayView require_like(Name name, py::handle object, const ArrayView& like);

// Of that shape, and of the dtype of x, the leader, or of float32 where x is of a half type.
ArrayView require_parameter(Name name, py::handle object, Name leader, const ArrayView& x,
                            const py::ssize_t* shape, int rank);

// Of the dtype of the parameter that came first.
void require_dtype_of(Name name, const ArrayView& view, const char* first, DType dtype);

void require_shape(Name name, const ArrayView& view, const py::ssize_t* shape, int rank);

// Whether an argument says of itself that its shape is (1,).
bool has_shape_of_one(py::handle object);

// An instance of that class of normdrop.results.
void require_named_tuple(Name name, py::handle object, const char* type);

// A float64 statistic of that shape.
ArrayView require_statistic(Name name, py::handle object, const ArrayView& x,
                            const py::ssize_t* shape, int rank);

// None, or an array to write to: dtype and shape of `like`, writeable, no element twice.
ArrayView optional_out(Name name, py::handle object, const ArrayView& like);

// Two uint64 (seed, call) on the device of x. The view's dtype says nothing.
ArrayView require_draw(Name name, py::handle object, const ArrayView& x);

// `out` must not share memory with `input`, unless `same_allowed` and it is the very same array.
void require_no_overlap(Name out_name, const ArrayView& out, const char* input_name,
                        const ArrayView& input, bool same_allowed);

bool holds_no_element_twice(const ArrayView& view);

double require_eps(Name name, py::handle object);
double require_number(Name name, py::handle object);
std::int64_t require_integer(Name name, py::handle object);
bool require_flag(Name name, py::handle object);

// An axis of `rank` axes, negative ones counted from the end.
int require_axis(Name name, py::handle object, int rank);

std::string shape_text(const py::ssize_t* shape, int rank);
std::string type_text(py::handle object);

}  // namespace normdrop
