// Our dtypes as NumPy's, DLPack's and in words.
#include "bindings/arrays/dtypes.h"

#include <pybind11/numpy.h>

#include <atomic>

namespace normdrop {
namespace {

using py::detail::array_descriptor_proxy;
using py::detail::array_proxy;
using py::detail::npy_api;

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

}  // namespace

const char* dtype_name(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "float16", "bfloat16"};
  return names[static_cast<int>(dtype)];
}

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

bool has_numpy_dtype(PyObject* array, DType* dtype) {
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

}  // namespace normdrop
