// Element types as NumPy numbers them.
#pragma once

#include <pybind11/pybind11.h>

#include "ops/dtype.h"

namespace normdrop {

namespace py = pybind11;

const char* dtype_name(DType dtype);

// NumPy's number of a dtype; ml_dtypes gives bfloat16 a new one in every process.
int type_number(DType dtype);

// False where a NumPy array's dtype is none of ours, or not in native byte order.
bool has_numpy_dtype(PyObject* array, DType* dtype);

}  // namespace normdrop
