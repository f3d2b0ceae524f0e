// A borrowed array: a NumPy array, or one in a device's memory.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "ops/dtype.h"

namespace normdrop {

namespace py = pybind11;

inline constexpr int max_rank = 64;  // NumPy's own limit

struct DeviceImport;
using Imported = std::shared_ptr<DeviceImport>;

struct ArrayView {
  PyObject* object = nullptr;  // null: an optional argument that was None
  char* data = nullptr;
  int rank = 0;
  const py::ssize_t* shape = nullptr;
  const py::ssize_t* strides = nullptr;  // bytes
  DType dtype = DType::float32;
  int item_bytes = 4;
  Imported import = nullptr;  // set where the array lies in a device's memory

  explicit operator bool() const { return object != nullptr; }
  std::int64_t size() const;
  bool aligned() const;
  bool writeable() const;
  bool c_contiguous() const;
  bool f_contiguous() const;
};

ArrayView view_of_numpy(PyObject* array, DType dtype);
ArrayView view_of_import(PyObject* object, const Imported& import);

}  // namespace normdrop
