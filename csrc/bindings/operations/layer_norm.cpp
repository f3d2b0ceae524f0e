#include "bindings/operations/operands.h"
#include "bindings/operations/operations.h"
#include "bindings/operations/row_staging.h"

namespace normdrop {
namespace {

// The normalised axes: an int, or a tuple of different neighbouring ones in any order.
struct NormAxes {
  AxisSet set;
  py::ssize_t shape[max_rank];  // along the axes as x has them
};

NormAxes require_axes(const char* function, py::handle object, const ArrayView& x) {
  const Name name{function, "axis"};
  NormAxes axes;
  if (x.rank == 0) fail_value({function, "x"}, "must have at least one axis, got shape ()");
  const auto include = [&](py::handle item) {
    const int axis = require_axis(name, item, x.rank);
    if (axes.set.has[axis]) {
      fail_value(name, "must name each axis once, got " + py::repr(object).cast<std::string>());
    }
    axes.set.has[axis] = true;
    ++axes.set.count;
  };
  if (PyTuple_Check(object.ptr())) {
    for (const py::handle item : py::reinterpret_borrow<py::tuple>(object)) include(item);
  } else if (PyIndex_Check(object.ptr())) {
    include(object);
  } else {
    fail_type(name, "must be an integer or a tuple of integers, got " + type_text(object));
  }
  if (axes.set.count == 0) fail_value(name, "must name at least one axis, got ()");
  int place = 0;
  int last = -1;
  for (int d = 0; d < x.rank; ++d) {
    if (!axes.set.has[d]) continue;
    if (place > 0 && last != d - 1) {
      fail_value(name, "must name neighbouring axes, got " + py::repr(object).cast<std::string>());
    }
    axes.shape[place++] = x.shape[d];
    last = d;
  }
  return axes;
}

// x as (outer, reduced, inner): in its own memory order where the normalised axes are neighbours
// there, else in C order, where they always are.
Split split_for_norm(const ArrayView& x, const AxisSet& axes) {
  Split result;
  if (!split(x, axes, memory_order(x), &result)) split(x, axes, c_order(x.rank), &result);
  return result;
}

struct StatsLayout {
  py::ssize_t shape[max_rank];
  MemoryOrder order;
};

StatsLayout stats_layout(const ArrayView& x, const AxisSet& axes, const MemoryOrder& order) {
  StatsLayout layout{{}, order_without(order, axes)};
  int place = 0;
  for (int d = 0; d < x.rank; ++d) {
    if (!axes.has[d]) layout.shape[place++] = x.shape[d];
  }
  return layout;
}

py::object forward(const char* function, bool want_stats, py::handle x_object,
                   py::handle weight_object, py::handle bias_object, py::handle axis,
                   py::handle eps, py::handle out_object) {
  const ArrayView x = require_array({function, "x"}, x_object);
  const NormAxes axes = require_axes(function, axis, x);
  const int rank = axes.set.count;
  const ArrayView weight =
      optional_parameter({function, "weight"}, weight_object, x, axes.shape, rank);
  const ArrayView bias = optional_parameter({function, "bias"}, bias_object, x, axes.shape, rank);
  const DType parameter_dtype = require_parameter_dtype(function, x.dtype, weight, bias);
  const double eps_value = require_eps({function, "eps"}, eps);
  const Name out_name{function, "out"};
  const ArrayView out = optional_out(out_name, out_object, x);
  require_no_overlap(out_name, out, "x", x, true);
  require_apart(out_name, out, {{"weight", weight}, {"bias", bias}});

  Execution execution(x);
  const Split s = split_for_norm(x, axes.set);
  const MemoryOrder parameter_order = order_of(s.order, axes.set);
  execution.stage_by_rows(s.outer, 2 * s.middle * s.inner * x.item_bytes + 16 * s.inner);
  const Operand x_operand = readable(execution, x, s);
  const Operand weight_operand = dense(execution, weight, parameter_order);
  const Operand bias_operand = dense(execution, bias, parameter_order);
  const Output y = output_like(execution, x, out, s);
  LayerNormForward arguments{};
  arguments.dtype = x.dtype;
  arguments.parameter_dtype = parameter_dtype;
  arguments.outer = s.outer;
  arguments.reduced = s.middle;
  arguments.inner = s.inner;
  arguments.x_outer_stride = x_operand.outer_stride;
  arguments.y_outer_stride = y.operand.outer_stride;
  arguments.eps = eps_value;
  arguments.x = x_operand.data;
  arguments.weight = weight_operand.data;
  arguments.bias = bias_operand.data;
  arguments.y = y.operand.data;
  Output mean;
  Output inv_std;
  if (want_stats) {
    const StatsLayout layout = stats_layout(x, axes.set, s.order);
    mean = new_dense(execution, DType::float64, layout.shape, layout.order);
    inv_std = new_dense(execution, DType::float64, layout.shape, layout.order);
    arguments.mean = mean.operand.as<double>();
    arguments.inv_std = inv_std.operand.as<double>();
  }
  if (execution.by_rows()) {
    call_by_rows(execution, arguments);
  } else {
    execution.call(&OpTable::layer_norm_forward, arguments, x.size());
  }
  const py::object result = delivered(execution, y);
  if (!want_stats) return result;
  return py::make_tuple(result, delivered(execution, mean), delivered(execution, inv_std));
}

py::object layer_norm(py::handle x, py::handle weight, py::handle bias, py::handle axis,
                      py::handle eps, py::handle out) {
  return forward("layer_norm", false, x, weight, bias, axis, eps, out);
}

py::object layer_norm_forward(py::handle x, py::handle weight, py::handle bias, py::handle axis,
                              py::handle eps, py::handle out) {
  return forward("layer_norm_forward", true, x, weight, bias, axis, eps, out);
}

py::tuple layer_norm_backward(py::handle grad_object, py::handle x_object, py::handle stats_object,
                              py::handle weight_object, py::handle axis, py::handle bias,
                              py::handle out_object) {
  const char* function = "layer_norm_backward";
  const ArrayView x = require_array({function, "x"}, x_object);
  const ArrayView grad = require_like({function, "grad_output"}, grad_object, x);
  const NormAxes axes = require_axes(function, axis, x);
  const Split s = split_for_norm(x, axes.set);
  const StatsLayout layout = stats_layout(x, axes.set, s.order);
  const int stats_rank = x.rank - axes.set.count;
  require_named_tuple({function, "stats"}, stats_object, "NormStats");
  const ArrayView mean = require_statistic({function, "stats.mean"}, stats_object.attr("mean"), x,
                                           layout.shape, stats_rank);
  const ArrayView inv_std = require_statistic(
      {function, "stats.inv_std"}, stats_object.attr("inv_std"), x, layout.shape, stats_rank);
  const ArrayView weight =
      optional_parameter({function, "weight"}, weight_object, x, axes.shape, axes.set.count);
  const DType parameter_dtype = require_parameter_dtype(function, x.dtype, weight, {});
  const bool want_bias = require_flag({function, "bias"}, bias);
  const Name out_name{function, "out"};
  const ArrayView out = optional_out(out_name, out_object, x);
  require_no_overlap(out_name, out, "grad_output", grad, true);
  require_apart(out_name, out,
                {{"x", x}, {"weight", weight}, {"stats.mean", mean}, {"stats.inv_std", inv_std}});

  Execution execution(x);
  const MemoryOrder parameter_order = order_of(s.order, axes.set);
  const Operand x_operand = readable(execution, x, s);
  const Operand grad_operand = readable(execution, grad, s);
  const Operand mean_operand = dense(execution, mean, layout.order);
  const Operand inv_std_operand = dense(execution, inv_std, layout.order);
  const Operand weight_operand = dense(execution, weight, parameter_order);
  const Output grad_x = output_like(execution, x, out, s);
  Output grad_weight;
  Output grad_bias;
  LayerNormBackward arguments{};
  arguments.dtype = x.dtype;
  arguments.parameter_dtype = parameter_dtype;
  arguments.outer = s.outer;
  arguments.reduced = s.middle;
  arguments.inner = s.inner;
  arguments.grad_output_outer_stride = grad_operand.outer_stride;
  arguments.x_outer_stride = x_operand.outer_stride;
  arguments.grad_x_outer_stride = grad_x.operand.outer_stride;
  arguments.grad_output = grad_operand.data;
  arguments.x = x_operand.data;
  arguments.mean = mean_operand.as<const double>();
  arguments.inv_std = inv_std_operand.as<const double>();
  arguments.weight = weight_operand.data;
  arguments.grad_x = grad_x.operand.data;
  if (weight) {
    grad_weight = new_dense(execution, parameter_dtype, axes.shape, parameter_order);
    arguments.grad_weight = grad_weight.operand.data;
  }
  if (want_bias) {
    grad_bias = new_dense(execution, parameter_dtype, axes.shape, parameter_order);
    arguments.grad_bias = grad_bias.operand.data;
  }
  execution.call(&OpTable::layer_norm_backward, arguments, x.size());
  return py::make_tuple(delivered(execution, grad_x), delivered(execution, grad_weight),
                        delivered(execution, grad_bias));
}

}  // namespace

void bind_layer_norm(py::module_& module) {
  module.def("layer_norm", &layer_norm);
  module.def("layer_norm_forward", &layer_norm_forward);
  module.def("layer_norm_backward", &layer_norm_backward);
}

}  // namespace normdrop
