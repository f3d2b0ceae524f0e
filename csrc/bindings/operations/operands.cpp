// Operands in place, packed or staged, and outputs from their making to their delivery.
#include "bindings/operations/operands.h"

#include "bindings/arrays/numpy_output.h"
#include "bindings/device/current_device.h"
#include "bindings/device/device_output.h"

namespace normdrop {
namespace {

void copy_into(PyObject* target, PyObject* source) {
  if (py::detail::npy_api::get().PyArray_CopyInto_(target, source) != 0) {
    throw py::error_already_set();
  }
}

// Whether kernels work on copies in a device's memory of an array in the host's.
bool is_staged(Execution& execution, const ArrayView& view) {
  return execution.ring() != nullptr && !view.import;
}

Operand in_place(const ArrayView& view, std::int64_t stride) {
  Operand operand;
  operand.data = view.data;
  operand.outer_stride = stride;
  return operand;
}

std::int64_t bytes_in(const ArrayView& view) { return view.size() * view.item_bytes; }

// An uninitialised dense copy of the array, on the host.
Operand host_buffer(const ArrayView& view, DType dtype, const MemoryOrder& order) {
  Operand operand;
  operand.packed = new_numpy_array(dtype, view.shape, order);
  operand.data = static_cast<char*>(py::detail::array_proxy(operand.packed.ptr())->data);
  operand.order = order;
  return operand;
}

// The same on the device.
Operand device_buffer(Execution& execution, const ArrayView& view, DType dtype,
                      const MemoryOrder& order) {
  Operand operand;
  operand.memory = execution.allocate(view.size() * bytes_of(dtype));
  operand.data = operand.memory->data;
  operand.order = order;
  return operand;
}

void dense_strides(const ArrayView& view, const MemoryOrder& order, std::int64_t* strides) {
  std::int64_t step = 1;
  for (int i = view.rank - 1; i >= 0; --i) {
    strides[order.axis[i]] = step;
    step *= view.shape[order.axis[i]];
  }
}

// Between an array on the device and its dense copy there; `inwards` is towards the copy.
void copy_strided(Execution& execution, const ArrayView& view, const Operand& copy, DType dtype,
                  bool inwards) {
  if (view.size() == 0) return;
  StridedCopy arguments{};
  arguments.rank = view.rank;
  std::int64_t* own = inwards ? arguments.source_strides : arguments.target_strides;
  for (int d = 0; d < view.rank; ++d) {
    arguments.shape[d] = view.shape[d];
    own[d] = view.strides[d] / view.item_bytes;
  }
  dense_strides(view, copy.order, inwards ? arguments.target_strides : arguments.source_strides);
  arguments.source_dtype = inwards ? view.dtype : dtype;
  arguments.target_dtype = inwards ? dtype : view.dtype;
  arguments.source = inwards ? view.data : copy.data;
  arguments.target = inwards ? copy.data : view.data;
  arguments.stream = execution.stream();
  const ReleasedGil released(true);
  execution.table().strided_copy(arguments);
}

// A dense copy of an array in the host's memory, on the device.
Operand staged(Execution& execution, const ArrayView& view, DType dtype, const MemoryOrder& order) {
  Operand host = in_place(view, 0);
  if (dtype != view.dtype || !is_dense(view, order)) {
    host = host_buffer(view, dtype, order);
    copy_into(host.packed.ptr(), view.object);
  }
  Operand operand = device_buffer(execution, view, dtype, order);
  execution.ring()->copy_in(operand.data, host.data, view.size() * bytes_of(dtype));
  return operand;
}

void deliver_staged(Execution& execution, const Operand& operand, const ArrayView& target) {
  if (is_dense(target, operand.order)) {
    execution.ring()->copy_out(target.data, operand.data, bytes_in(target));
    return;
  }
  const Operand host = host_buffer(target, target.dtype, operand.order);
  execution.ring()->copy_out(host.data, operand.data, bytes_in(target));
  copy_into(target.object, host.packed.ptr());
}

Operand with_outer_stride(Operand operand, const Split& split) {
  operand.outer_stride = split.inner * split.middle;
  return operand;
}

// A new array of the kind of the one that leads the call; the operand is not set.
Output new_array(Execution& execution, DType dtype, const py::ssize_t* shape,
                 const MemoryOrder& order) {
  Output output;
  if (execution.leader()) {
    const DeviceOutput made = new_device_array(execution, dtype, shape, order);
    output.array = made.array;
    output.view = view_of_import(made.array.ptr(), made.import);
  } else {
    output.array = new_numpy_array(dtype, shape, order);
    output.view = view_of_numpy(output.array.ptr(), dtype);
  }
  return output;
}

// A copy of the array, dense in that order, where the kernel can reach it.
Operand packed(Execution& execution, const ArrayView& view, DType dtype, const MemoryOrder& order) {
  if (view.import) {
    Operand operand = device_buffer(execution, view, dtype, order);
    copy_strided(execution, view, operand, dtype, true);
    return operand;
  }
  Operand operand = host_buffer(view, dtype, order);
  copy_into(operand.packed.ptr(), view.object);
  return operand;
}

}  // namespace

Operand readable(Execution& execution, const ArrayView& view, const Split& split) {
  execution.join(view);
  if (is_staged(execution, view) && !execution.by_rows()) {
    return with_outer_stride(staged(execution, view, view.dtype, split.order), split);
  }
  std::int64_t stride;
  if (fits(view, split, &stride)) return in_place(view, stride);
  return with_outer_stride(packed(execution, view, view.dtype, split.order), split);
}

Operand writable(Execution& execution, const ArrayView& view, const Split& split) {
  execution.join(view);
  const bool whole = is_staged(execution, view) && !execution.by_rows();
  std::int64_t stride;
  if (!whole && fits(view, split, &stride)) return in_place(view, stride);
  return with_outer_stride(whole || view.import
                               ? device_buffer(execution, view, view.dtype, split.order)
                               : host_buffer(view, view.dtype, split.order),
                           split);
}

void deliver(Execution& execution, const Operand& operand, const ArrayView& target) {
  if (operand.packed) {
    copy_into(target.object, operand.packed.ptr());
  } else if (operand.memory && target.import) {
    copy_strided(execution, target, operand, target.dtype, false);
  } else if (operand.memory) {
    deliver_staged(execution, operand, target);
  }
}

Operand dense(Execution& execution, const ArrayView& view, const MemoryOrder& order) {
  if (!view) return {};
  return dense_as(execution, view, view.dtype, order);
}

Operand dense_as(Execution& execution, const ArrayView& view, DType dtype,
                 const MemoryOrder& order) {
  execution.join(view);
  if (is_staged(execution, view)) return staged(execution, view, dtype, order);
  if (dtype == view.dtype && is_dense(view, order)) return in_place(view, 0);
  return packed(execution, view, dtype, order);
}

Output output_like(Execution& execution, const ArrayView& x, const ArrayView& out,
                   const Split& split) {
  Output output;
  if (out) {
    output.array = py::reinterpret_borrow<py::object>(out.object);
    output.view = out;
  } else {
    output = new_array(execution, x.dtype, x.shape, memory_order(x));
  }
  output.operand = writable(execution, output.view, split);
  return output;
}

Output new_dense(Execution& execution, DType dtype, const py::ssize_t* shape,
                 const MemoryOrder& order) {
  Output output = new_array(execution, dtype, shape, order);
  const bool whole = is_staged(execution, output.view) && !execution.by_rows();
  output.operand =
      whole ? device_buffer(execution, output.view, dtype, order) : in_place(output.view, 0);
  return output;
}

Output new_copy(Execution& execution, const ArrayView& view, DType dtype) {
  execution.join(view);
  const MemoryOrder order = memory_order(view);
  Output output = new_dense(execution, dtype, view.shape, order);
  output.operand.order = order;
  copy_strided(execution, view, output.operand, dtype, true);
  return output;
}

py::object delivered(Execution& execution, const Output& output) {
  if (output.view) deliver(execution, output.operand, output.view);
  return handed_over(execution, output.array);
}

}  // namespace normdrop
