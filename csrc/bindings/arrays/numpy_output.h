// New NumPy arrays, from the output pool where they are large.
#pragma once

#include "bindings/arrays/layout.h"

namespace normdrop {

py::object new_numpy_array(DType dtype, const py::ssize_t* shape, const MemoryOrder& order);

}  // namespace normdrop
