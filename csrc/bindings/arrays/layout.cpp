// Strides to the (outer, middle, inner) of a kernel.
#include "bindings/arrays/layout.h"

#include <algorithm>
#include <cstdlib>

namespace normdrop {

MemoryOrder c_order(int rank) {
  MemoryOrder order{rank, {}};
  for (int d = 0; d < rank; ++d) order.axis[d] = static_cast<std::int8_t>(d);
  return order;
}

MemoryOrder memory_order(const ArrayView& view) {
  MemoryOrder order = c_order(view.rank);
  if (view.c_contiguous()) return order;
  if (view.f_contiguous()) {
    std::reverse(order.axis, order.axis + view.rank);
    return order;
  }
  // A stable sort would allocate; so axes of equal steps stay in order by their numbers.
  std::sort(order.axis, order.axis + view.rank, [&](int a, int b) {
    const auto step_a = std::abs(view.strides[a]), step_b = std::abs(view.strides[b]);
    return step_a != step_b ? step_a > step_b : a < b;
  });
  return order;
}

bool split(const ArrayView& x, const AxisSet& middle, const MemoryOrder& order, Split* result) {
  *result = {order, 1, 1, 1};
  int stage = 0;  // 0: outer, 1: middle, 2: inner
  for (int i = 0; i < x.rank; ++i) {
    const int d = order.axis[i];
    if (x.shape[d] == 1) continue;
    if (middle.has[d]) {
      if (stage == 2) return false;
      stage = 1;
      result->middle *= x.shape[d];
    } else if (stage == 0) {
      result->outer *= x.shape[d];
    } else {
      stage = 2;
      result->inner *= x.shape[d];
    }
  }
  return true;
}

bool fits(const ArrayView& view, const Split& split, std::int64_t* stride) {
  if (!view.aligned()) return false;
  if (view.size() == 0) {
    *stride = 0;
    return true;
  }
  std::int64_t expected = view.item_bytes;
  bool inside = split.inner > 1 || split.middle > 1;
  std::int64_t covered = 1;
  std::int64_t outer_stride = 0;
  for (int i = view.rank - 1; i >= 0; --i) {
    const int d = split.order.axis[i];
    if (view.shape[d] == 1) continue;
    if (inside) {
      if (view.strides[d] != expected) return false;
      expected *= view.shape[d];
      covered *= view.shape[d];
      inside = covered < split.inner * split.middle;
    } else {
      if (outer_stride != 0 && view.strides[d] != expected) return false;
      if (outer_stride == 0) outer_stride = view.strides[d];
      if (view.strides[d] == 0) return false;
      expected = view.strides[d] * view.shape[d];
    }
  }
  *stride = outer_stride == 0 ? split.inner * split.middle : outer_stride / view.item_bytes;
  return true;
}

bool is_dense(const ArrayView& view, const MemoryOrder& order) {
  std::int64_t expected = view.item_bytes;
  bool dense = view.aligned();
  for (int i = view.rank - 1; i >= 0; --i) {
    const int d = order.axis[i];
    if (view.shape[d] == 1) continue;
    dense = dense && view.strides[d] == expected;
    expected *= view.shape[d];
  }
  return dense;
}

MemoryOrder order_of(const MemoryOrder& order, const AxisSet& chosen) {
  MemoryOrder result{0, {}};
  for (int i = 0; i < order.rank; ++i) {
    if (!chosen.has[order.axis[i]]) continue;
    int place = 0;
    for (int d = 0; d < order.axis[i]; ++d) place += chosen.has[d] ? 1 : 0;
    result.axis[result.rank++] = static_cast<std::int8_t>(place);
  }
  return result;
}

MemoryOrder order_without(const MemoryOrder& order, const AxisSet& removed) {
  AxisSet rest;
  for (int d = 0; d < order.rank; ++d) rest.has[d] = !removed.has[d];
  return order_of(order, rest);
}

}  // namespace normdrop
