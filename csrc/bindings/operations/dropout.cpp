#include <algorithm>
#include <vector>

#include "bindings/operations/dropout_scales.h"
#include "bindings/operations/operands.h"
#include "bindings/operations/operations.h"
#include "bindings/operations/row_staging.h"

namespace normdrop {
namespace {

// The word of an element follows its C-order index, so kernels work on C order: an array of any
// other layout is packed on the way in and copied out on the way back.
Split flat(const ArrayView& x) {
  Split result;
  AxisSet all;
  for (int d = 0; d < x.rank; ++d) all.has[d] = true;
  split(x, all, c_order(x.rank), &result);
  return result;
}

// The shape that the mask was drawn for, where the call comes with a mask.
void require_mask_shape(Name name, const ArrayView& x, py::handle mask_shape) {
  if (mask_shape.is_none()) return;
  std::vector<py::ssize_t> expected;
  for (const py::handle size : py::reinterpret_borrow<py::tuple>(mask_shape)) {
    expected.push_back(size.cast<py::ssize_t>());
  }
  const auto rank = static_cast<int>(expected.size());
  if (x.rank == rank && std::equal(expected.begin(), expected.end(), x.shape)) return;
  fail_value(name, "must have shape " + shape_text(expected.data(), rank) + ", got " +
                       shape_text(x.shape, x.rank));
}

// Elements are its rows: a part of them begins at an element's own word.
void call_by_rows(Execution& execution, const Dropout& arguments) {
  const RowShape element{1, bytes_of(arguments.dtype), 0};
  execution.ring()->run_rows(
      arguments.count, {element.read(arguments.x, 1), element.written(arguments.y, 1)},
      [&](std::int64_t first, std::int64_t elements, char* const* device, void* stream) {
    Dropout part = arguments;
    part.count = elements;
    part.draw.first_index += static_cast<std::uint64_t>(first);
    part.x = device[0];
    part.y = device[1];
    part.stream = stream;
    execution.launch(&OpTable::dropout, part);
  });
}

py::object dropout(const char* function, const char* argument, py::handle x_object,
                   const DropoutDraw& draw, py::handle device_draw, py::handle mask_shape,
                   py::handle out_object) {
  const ArrayView x = require_array({function, argument}, x_object);
  require_mask_shape({function, argument}, x, mask_shape);
  const ArrayView draw_view =
      device_draw.is_none() ? ArrayView{} : require_draw({function, "rng"}, device_draw, x);
  const Name out_name{function, "out"};
  const ArrayView out = optional_out(out_name, out_object, x);
  require_no_overlap(out_name, out, argument, x, true);
  require_no_overlap(out_name, out, "rng", draw_view, false);
  Execution execution(x);
  const Split s = flat(x);
  execution.stage_by_rows(x.size(), 2 * x.item_bytes);
  const Operand x_operand = readable(execution, x, s);
  const Output y = output_like(execution, x, out, s);
  Dropout arguments{};
  arguments.dtype = x.dtype;
  arguments.count = x.size();
  arguments.draw = draw;
  const Scales scales = scales_of(draw.threshold);
  arguments.scale = x.dtype == DType::float64 ? scales.wide : scales.narrow;
  arguments.x = x_operand.data;
  arguments.y = y.operand.data;
  if (draw_view) {
    execution.join(draw_view);
    arguments.device_draw = reinterpret_cast<const std::uint64_t*>(draw_view.data);
  }
  if (execution.by_rows()) {
    call_by_rows(execution, arguments);
  } else {
    execution.call(&OpTable::dropout, arguments, x.size());
  }
  return delivered(execution, y);
}

py::array_t<std::uint8_t> keep(const DropoutDraw& draw, std::int64_t count) {
  py::array_t<std::uint8_t> result(count);
  DropoutKeep arguments{};
  arguments.count = count;
  arguments.draw = draw;
  arguments.keep = result.mutable_data();
  call_on_host(&OpTable::dropout_keep, arguments, count);
  return result;
}

}  // namespace

void bind_dropout(py::module_& module) {
  module.def("dropout", [](const char* function, const char* argument, py::handle x,
                           std::uint64_t seed, std::uint64_t call, std::uint64_t threshold,
                           py::handle device_draw, py::handle mask_shape, py::handle out) {
    return dropout(function, argument, x, {seed, call, threshold, 0}, device_draw, mask_shape, out);
  });
  module.def("dropout_keep", [](std::uint64_t seed, std::uint64_t call, std::uint64_t threshold,
                                std::uint64_t first_index, std::int64_t count) {
    return keep({seed, call, threshold, first_index}, count);
  });
  module.def("dropout_scales", [](std::uint64_t threshold) {
    const Scales scales = scales_of(threshold);
    return py::make_tuple(scales.narrow, scales.wide);
  });
}

}  // namespace normdrop
