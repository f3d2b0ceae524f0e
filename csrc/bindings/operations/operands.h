// Arrays as a kernel reads and writes them: in place, as a packed copy, or staged to a device.
#pragma once

#include "bindings/arrays/layout.h"
#include "bindings/operations/execution.h"

namespace normdrop {

struct Operand {
  char* data = nullptr;
  std::int64_t outer_stride = 0;  // elements
  py::object packed;              // set where the kernel works on a copy in the host's memory
  std::shared_ptr<DeviceMemory> memory;  // set where it works on one in a device's memory
  MemoryOrder order;                     // of a copy, which is dense

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
};

// For reading: the array in place if its strides fit the split, else a packed copy.
Operand readable(Execution& execution, const ArrayView& view, const Split& split);

// For writing: the array in place if its strides fit, else a buffer; see `deliver`.
Operand writable(Execution& execution, const ArrayView& view, const Split& split);

// After the kernel: copies a buffer to where it belongs.
void deliver(Execution& execution, const Operand& operand, const ArrayView& target);

// Values of a small 1-D or n-D argument, dense in a given order of its axes. With a dtype,
// converted to it.
Operand dense(Execution& execution, const ArrayView& view, const MemoryOrder& order);
Operand dense_as(Execution& execution, const ArrayView& view, DType dtype,
                 const MemoryOrder& order);

// What a call gives back: `out`, or a new array of the kind of the array that leads the call.
struct Output {
  py::object array = py::none();
  ArrayView view;
  Operand operand;
};

// `out`, or a new array of the shape, dtype and memory order of x.
Output output_like(Execution& execution, const ArrayView& x, const ArrayView& out,
                   const Split& split);

// A new array, dense in that order of its axes.
Output new_dense(Execution& execution, DType dtype, const py::ssize_t* shape,
                 const MemoryOrder& order);

// A new array on the device with the contents of another one there, converted.
Output new_copy(Execution& execution, const ArrayView& view, DType dtype);

// After the kernel: the array to return.
py::object delivered(Execution& execution, const Output& output);

}  // namespace normdrop
