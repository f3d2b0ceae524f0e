// Dropout's bindings: masks are drawn by numbers, not arrays.
#include <vector>

#include "bindings/operations/dropout_scales.h"
#include "bindings/operations/geometry.h"
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
  require_shape(name, x, expected.data(), static_cast<int>(expected.size()));
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

// Axes of an array of `rank` axes along which one draw serves all: an integer or a tuple.
AxisSet require_shared_axes(const char* function, py::handle object, int rank) {
  if (rank > max_rank) {  // of a mask that no array has
    fail_value({function, "shape"}, "must have at most " + std::to_string(max_rank) +
                                        " axes, got " + std::to_string(rank));
  }
  return require_axes({function, "shared_axes"}, object, rank);
}

// The shape as the kernels go along it: neighbouring axes that share alike are one.
class CollapsedShape {
 public:
  CollapsedShape(const py::ssize_t* sizes, int rank, const AxisSet& shared) {
    if (shared.count == 0) return;
    DrawnAxis axes[max_rank];
    int count = 0;
    bool last_shared = false;
    bool empty = false;
    for (int d = 0; d < rank; ++d) {
      empty = empty || sizes[d] == 0;
      if (sizes[d] == 1) continue;
      if (count > 0 && shared.has[d] == last_shared) {
        axes[count - 1].size *= sizes[d];
        continue;
      }
      last_shared = shared.has[d];
      axes[count++] = {sizes[d], last_shared ? 0 : 1};
    }
    if (empty) return;
    const auto take = [&](std::int64_t step, std::int64_t* size) {
      if (count > 0 && axes[count - 1].step == step) *size = axes[--count].size;
    };
    take(0, &shape_.inner);
    take(1, &shape_.drawn);
    take(0, &shape_.rows);
    std::int64_t words = shape_.drawn;
    for (int i = count - 1; i >= 0; --i) {
      const bool draws = axes[i].step != 0;
      outer_[i] = {axes[i].size, draws ? words : 0};
      if (draws) words *= axes[i].size;
    }
    shape_.outer_axes = count;
    shape_.outer = outer_;
  }
  CollapsedShape(const CollapsedShape&) = delete;
  CollapsedShape& operator=(const CollapsedShape&) = delete;

  const DrawnShape& shape() const { return shape_; }

 private:
  DrawnShape shape_;
  DrawnAxis outer_[max_rank];
};

// What a function of the family does with its words.
struct Noise {
  DropoutKind kind;
  double scale;
  double shift = 0;
  double dropped = 0;
};

// Where the words come from.
struct Drawing {
  DropoutDraw draw;
  py::handle shared_axes;
  py::handle device_draw;
  py::handle mask_shape;
};

// `noise` gives the Noise of a dtype.
template <class NoiseOf>
py::object apply(const char* function, const char* argument, py::handle x_object,
                 const Drawing& drawing, py::handle out_object, NoiseOf&& noise_of) {
  const ArrayView x = require_array({function, argument}, x_object);
  require_mask_shape({function, argument}, x, drawing.mask_shape);
  const AxisSet shared = require_shared_axes(function, drawing.shared_axes, x.rank);
  const ArrayView draw_view = drawing.device_draw.is_none()
                                  ? ArrayView{}
                                  : require_draw({function, "rng"}, drawing.device_draw, x);
  const Name out_name{function, "out"};
  const ArrayView out = optional_out(out_name, out_object, x);
  require_no_overlap(out_name, out, argument, x, true);
  require_no_overlap(out_name, out, "rng", draw_view, false);
  const Noise noise = noise_of(x.dtype);
  const CollapsedShape collapsed(x.shape, x.rank, shared);
  Execution execution(x);
  const Split s = flat(x);
  if (is_plain(collapsed.shape())) execution.stage_by_rows(x.size(), 2 * x.item_bytes);
  const Operand x_operand = readable(execution, x, s);
  const Output y = output_like(execution, x, out, s);
  Dropout arguments{};
  arguments.dtype = x.dtype;
  arguments.kind = noise.kind;
  arguments.count = x.size();
  arguments.draw = drawing.draw;
  arguments.shape = collapsed.shape();
  arguments.scale = noise.scale;
  arguments.shift = noise.shift;
  arguments.dropped = noise.dropped;
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

DropoutKind kind_named(const std::string& name) {
  if (name == "dropout") return DropoutKind::dropout;
  if (name == "alpha") return DropoutKind::alpha;
  if (name == "uniform") return DropoutKind::uniform;
  return DropoutKind::gaussian;
}

py::object noise(const std::string& kind, const py::tuple& single, const py::tuple& twice,
                 const char* function, const char* argument, py::handle x, const Drawing& drawing,
                 py::handle out) {
  return apply(function, argument, x, drawing, out, [&](DType dtype) {
    const py::tuple& numbers = dtype == DType::float64 ? twice : single;
    return Noise{kind_named(kind), numbers[0].cast<double>(), numbers[1].cast<double>(),
                 numbers[2].cast<double>()};
  });
}

// Of `count` elements from `first` on of an array of that shape.
py::array_t<std::uint8_t> keep(const DropoutDraw& draw, const py::tuple& shape,
                               py::handle shared_axes, std::int64_t count) {
  std::vector<py::ssize_t> sizes;
  for (const py::handle size : shape) sizes.push_back(size.cast<py::ssize_t>());
  const auto rank = static_cast<int>(sizes.size());
  const AxisSet shared = require_shared_axes("DropoutMask", shared_axes, rank);
  const CollapsedShape collapsed(sizes.data(), rank, shared);
  py::array_t<std::uint8_t> result(count);
  DropoutKeep arguments{};
  arguments.count = count;
  arguments.draw = draw;
  arguments.shape = collapsed.shape();
  arguments.keep = result.mutable_data();
  call_on_host(&OpTable::dropout_keep, arguments, count);
  return result;
}

}  // namespace

void bind_dropout(py::module_& module) {
  module.def("dropout",
             [](const char* function, const char* argument, py::handle x, std::uint64_t seed,
                std::uint64_t call, std::uint64_t threshold, py::handle shared_axes,
                py::handle device_draw, py::handle mask_shape, py::handle out) {
    const Drawing drawing{{seed, call, threshold, 0}, shared_axes, device_draw, mask_shape};
    return apply(function, argument, x, drawing, out, [&](DType dtype) {
      return Noise{DropoutKind::dropout, dropout_scale(threshold, dtype)};
    });
  });
  module.def("noise",
             [](const std::string& kind, const py::tuple& single, const py::tuple& twice,
                const char* function, const char* argument, py::handle x, std::uint64_t seed,
                std::uint64_t call, std::uint64_t threshold, py::handle shared_axes,
                py::handle device_draw, py::handle mask_shape, py::handle out) {
    const Drawing drawing{{seed, call, threshold, 0}, shared_axes, device_draw, mask_shape};
    return noise(kind, single, twice, function, argument, x, drawing, out);
  });
  module.def(
      "dropout_keep",
      [](std::uint64_t seed, std::uint64_t call, std::uint64_t threshold, std::uint64_t first_index,
         std::int64_t count, const py::tuple& shape, py::handle shared_axes) {
    return keep({seed, call, threshold, first_index}, shape, shared_axes, count);
  },
      py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg("shape") = py::tuple(),
      py::arg("shared_axes") = py::tuple());
  module.def("shared_axes", [](const char* function, py::handle axes, int rank) {
    const AxisSet shared = require_shared_axes(function, axes, rank);
    py::tuple result(shared.count);
    int place = 0;
    for (int d = 0; d < rank; ++d) {
      if (shared.has[d]) result[place++] = d;
    }
    return result;
  });
  module.def("dropout_scales", [](std::uint64_t threshold) {
    const Scales scales = scales_of(threshold);
    return py::make_tuple(scales.narrow, scales.wide);
  });
}

}  // namespace normdrop
