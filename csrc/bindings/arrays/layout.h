// How an array of any strides is seen by a kernel as (outer, middle, inner).
//
// An array's memory order is NumPy's K order: axes by falling stride. Where, in that order, the
// middle axes are neighbours and everything inside the outer axes is dense, kernels work in place;
// anything else is packed first into a dense array of the same memory order.
#pragma once

#include "bindings/arrays/array_view.h"

namespace normdrop {

// Axes from the outermost in memory to the innermost.
struct MemoryOrder {
  int rank;
  std::int8_t axis[max_rank];  // small, because orders are copied in every call
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

// Whether a kernel can work in place: elements between neighbours along the outer axes, where those
// collapse into one stride and the rest is dense; false where the strides do not fit.
bool fits(const ArrayView& view, const Split& split, std::int64_t* stride);

// Whether the elements are dense when the axes are taken in that order.
bool is_dense(const ArrayView& view, const MemoryOrder& order);

// The order of the axes that are left when `removed` are taken out, renumbered.
MemoryOrder order_without(const MemoryOrder& order, const AxisSet& removed);
// The order of the chosen axes alone, renumbered by their place among the chosen.
MemoryOrder order_of(const MemoryOrder& order, const AxisSet& chosen);

}  // namespace normdrop
