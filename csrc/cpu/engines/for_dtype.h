// From the dtype of a call to the element type of a kernel.
#pragma once

#include "cpu/simd/simd_half.h"
#include "ops/dtype.h"

namespace normdrop::NORMDROP_ISA {

// Calls body(element) with an element of the type that a dtype names.
template <class Body>
NORMDROP_INLINE void for_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32:
      return body(float());
    case DType::float64:
      return body(double());
    case DType::float16:
      return body(float16());
    case DType::bfloat16:
      return body(bfloat16());
  }
}

}  // namespace normdrop::NORMDROP_ISA
