// How an array of any strides is seen by a kernel as (outer, middle, inner).
//
// An array's memory order is NumPy's K order: axes by falling stride. Where, in that order, the
// middle axes are neighbours and everything inside the outer axes is dense, kernels work in place;
// anything else is packed first into a dense array of the same memory order.
#pragma once

#include "bindings/array_view.h"

namespace normdrop {

// Axes from the outermost in memory to the innermost.
struct MemoryOrder {
  int rank;
  int axis[max_rank];
};

MemoryOrder memory_order(const ArrayView& view);
MemoryOrder c_order(int rank);

// A set of axes of an array.
struct AxisSet {
  bool has[max_rank] = {};
  int count = 0;
};

// x as (outer, middle, inner) in memory order.
struct Split {
  MemoryOrder order;
  std::int64_t outer = 1;
  std::int64_t middle = 1;
  std::int64_t inner = 1;
};

// False where the middle axes are not neighbours in that order.
bool split(const ArrayView& x, const AxisSet& middle, const MemoryOrder& order, Split* result);

// An array as a kernel reads or writes it: itself or a packed copy that is kept alive here.
struct Operand {
  char* data = nullptr;
  std::int64_t outer_stride = 0;  // elements
  py::object keep_alive;
  py::object packed;  // set where the kernel works on a copy
};

// For reading: the array in place if its strides fit the split, else a packed copy.
Operand readable(const ArrayView& view, const Split& split);

// For writing: the array in place if its strides fit, else a buffer; see `deliver`.
Operand writable(const ArrayView& view, const Split& split);

// After the kernel: copies a buffer to where it belongs.
void deliver(const Operand& operand, const ArrayView& target);

// Values of a small 1-D or n-D argument, dense in a given order of its axes.
Operand dense(const ArrayView& view, const MemoryOrder& order);

// A new array of `shape` whose memory order is `order`, from the output pool where it is large.
py::object new_array(DType dtype, const py::ssize_t* shape, const MemoryOrder& order);

// The order of the axes that are left when `removed` are taken out, renumbered.
MemoryOrder order_without(const MemoryOrder& order, const AxisSet& removed);
// The order of the chosen axes alone, renumbered by their place among the chosen.
MemoryOrder order_of(const MemoryOrder& order, const AxisSet& chosen);

ArrayView view_of_new(const py::object& array, DType dtype);

}  // namespace normdrop
