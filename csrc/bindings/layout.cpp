#include "bindings/layout.h"

#include <algorithm>
#include <cstdlib>

#include "bindings/output_pool.h"

namespace normdrop {
namespace {

using py::detail::array_proxy;
using py::detail::npy_api;

void release_to_pool(PyObject* capsule) {
  auto* buffer =
      static_cast<output_pool::Buffer*>(PyCapsule_GetPointer(capsule, "normdrop.output_pool"));
  output_pool::release(*buffer);
  delete buffer;
}

// Elements between neighbours along the outer axes, where those collapse into one stride and the
// rest is dense; false where the strides do not fit.
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

void copy_into(PyObject* target, PyObject* source) {
  if (npy_api::get().PyArray_CopyInto_(target, source) != 0) throw py::error_already_set();
}

Operand in_place(const ArrayView& view, std::int64_t stride) { return {view.data, stride, {}, {}}; }

Operand buffer_for(const ArrayView& view, const Split& split) {
  py::object packed = new_array(view.dtype, view.shape, split.order);
  return {array_proxy(packed.ptr())->data, split.inner * split.middle, packed, packed};
}

}  // namespace

MemoryOrder c_order(int rank) {
  MemoryOrder order{rank, {}};
  for (int d = 0; d < rank; ++d) order.axis[d] = d;
  return order;
}

MemoryOrder memory_order(const ArrayView& view) {
  MemoryOrder order = c_order(view.rank);
  if (view.c_contiguous()) return order;
  if (view.f_contiguous()) {
    std::reverse(order.axis, order.axis + view.rank);
    return order;
  }
  std::stable_sort(order.axis, order.axis + view.rank, [&](int a, int b) {
    return std::abs(view.strides[a]) > std::abs(view.strides[b]);
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

Operand readable(const ArrayView& view, const Split& split) {
  std::int64_t stride;
  if (fits(view, split, &stride)) return in_place(view, stride);
  Operand operand = buffer_for(view, split);
  copy_into(operand.packed.ptr(), view.object);
  return operand;
}

Operand writable(const ArrayView& view, const Split& split) {
  std::int64_t stride;
  if (fits(view, split, &stride)) return in_place(view, stride);
  return buffer_for(view, split);
}

void deliver(const Operand& operand, const ArrayView& target) {
  if (operand.packed) copy_into(target.object, operand.packed.ptr());
}

Operand dense(const ArrayView& view, const MemoryOrder& order) {
  if (!view) return {};
  std::int64_t expected = view.item_bytes;
  bool fits_already = view.aligned();
  for (int i = view.rank - 1; i >= 0; --i) {
    const int d = order.axis[i];
    if (view.shape[d] == 1) continue;
    fits_already = fits_already && view.strides[d] == expected;
    expected *= view.shape[d];
  }
  if (fits_already) return in_place(view, 0);
  py::object packed = new_array(view.dtype, view.shape, order);
  copy_into(packed.ptr(), view.object);
  return {array_proxy(packed.ptr())->data, 0, packed, packed};
}

MemoryOrder order_of(const MemoryOrder& order, const AxisSet& chosen) {
  MemoryOrder result{0, {}};
  for (int i = 0; i < order.rank; ++i) {
    if (!chosen.has[order.axis[i]]) continue;
    int place = 0;
    for (int d = 0; d < order.axis[i]; ++d) place += chosen.has[d] ? 1 : 0;
    result.axis[result.rank++] = place;
  }
  return result;
}

MemoryOrder order_without(const MemoryOrder& order, const AxisSet& removed) {
  AxisSet rest;
  for (int d = 0; d < order.rank; ++d) rest.has[d] = !removed.has[d];
  return order_of(order, rest);
}

py::object new_array(DType dtype, const py::ssize_t* shape, const MemoryOrder& order) {
  auto& api = npy_api::get();
  py::ssize_t strides[max_rank];
  py::ssize_t bytes = bytes_of(dtype);
  for (int i = order.rank - 1; i >= 0; --i) {
    strides[order.axis[i]] = bytes;
    bytes *= shape[order.axis[i]];
  }
  PyObject* descriptor = api.PyArray_DescrFromType_(type_number(dtype));
  const auto total = static_cast<std::size_t>(bytes);
  bool is_c_order = true;
  for (int i = 0; i < order.rank; ++i) is_c_order = is_c_order && order.axis[i] == i;
  if (total < output_pool::smallest_bytes) {
    PyObject* array =
        api.PyArray_NewFromDescr_(api.PyArray_Type_, descriptor, order.rank, shape,
                                  is_c_order ? nullptr : strides, nullptr, 0, nullptr);
    if (array == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(array);
  }
  auto* buffer = new output_pool::Buffer(output_pool::acquire(total));
  PyObject* capsule = PyCapsule_New(buffer, "normdrop.output_pool", release_to_pool);
  if (capsule == nullptr) throw py::error_already_set();
  constexpr int flags = npy_api::NPY_ARRAY_WRITEABLE_ | npy_api::NPY_ARRAY_ALIGNED_;
  PyObject* array = api.PyArray_NewFromDescr_(api.PyArray_Type_, descriptor, order.rank, shape,
                                              strides, buffer->memory, flags, nullptr);
  if (array == nullptr) {
    Py_DECREF(capsule);
    throw py::error_already_set();
  }
  if (api.PyArray_SetBaseObject_(array, capsule) != 0) {
    Py_DECREF(array);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(array);
}

ArrayView view_of_new(const py::object& array, DType dtype) {
  const auto* proxy = array_proxy(array.ptr());
  return {array.ptr(),
          proxy->data,
          proxy->nd,
          proxy->dimensions,
          proxy->strides,
          dtype,
          static_cast<int>(bytes_of(dtype))};
}

}  // namespace normdrop
