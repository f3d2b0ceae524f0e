#include "bindings/operations/operands.h"
#include "bindings/operations/operations.h"
#include "bindings/operations/row_staging.h"

namespace normdrop {
namespace {

// What every form of batch norm shares: x with its channel axis, as (batch, channels, inner).
struct Channels {
  ArrayView x;
  int axis;
  py::ssize_t count;
  Split split;
};

Channels require_channels(const char* function, py::handle x_object, py::handle channel_axis) {
  Channels channels;
  channels.x = require_array({function, "x"}, x_object);
  const ArrayView& x = channels.x;
  if (x.rank < 2) {
    fail_value({function, "x"},
               "must have at least 2 axes, got shape " + shape_text(x.shape, x.rank));
  }
  channels.axis = require_axis({function, "channel_axis"}, channel_axis, x.rank);
  channels.count = x.shape[channels.axis];
  AxisSet set;
  set.has[channels.axis] = true;
  set.count = 1;
  split(x, set, memory_order(x), &channels.split);  // a single axis always splits
  return channels;
}

// Running statistics of whatever precision and stride.
ArrayView require_running(Name name, py::handle object, const ArrayView& x,
                          const py::ssize_t& channels) {
  const ArrayView view = require_single_or_double(name, object, x);
  if (view.rank == 1 && view.shape[0] == channels) return view;
  fail_value(name, "must have shape " + shape_text(&channels, 1) + ", got " +
                       shape_text(view.shape, view.rank));
}

struct Affine {
  DType dtype;
  ArrayView weight;
  ArrayView bias;
};

Affine require_affine(const char* function, const Channels& channels, py::handle weight,
                      py::handle bias) {
  Affine affine;
  affine.weight = optional_parameter({function, "weight"}, weight, channels.x, &channels.count, 1);
  affine.bias = optional_parameter({function, "bias"}, bias, channels.x, &channels.count, 1);
  affine.dtype = require_parameter_dtype(function, channels.x.dtype, affine.weight, affine.bias);
  return affine;
}

// Everything that the forward passes share; the operands must outlive the call.
struct ForwardOperands {
  Operand x;
  Operand weight;
  Operand bias;
  Output y;
};

ForwardOperands forward_operands(Execution& execution, const Channels& channels,
                                 const Affine& affine, const ArrayView& out) {
  return {readable(execution, channels.x, channels.split),
          dense(execution, affine.weight, c_order(1)), dense(execution, affine.bias, c_order(1)),
          output_like(execution, channels.x, out, channels.split)};
}

template <class Arguments>
Arguments forward_arguments(const Channels& channels, const ForwardOperands& operands,
                            const Affine& affine, double eps) {
  Arguments arguments{};
  arguments.dtype = channels.x.dtype;
  arguments.parameter_dtype = affine.dtype;
  arguments.batch = channels.split.outer;
  arguments.channels = channels.count;
  arguments.inner = channels.split.inner;
  arguments.x_batch_stride = operands.x.outer_stride;
  arguments.y_batch_stride = operands.y.operand.outer_stride;
  arguments.eps = eps;
  arguments.x = operands.x.data;
  arguments.weight = operands.weight.data;
  arguments.bias = operands.bias.data;
  arguments.y = operands.y.operand.data;
  return arguments;
}

py::object batch_norm(py::handle x, py::handle running_mean, py::handle running_var,
                      py::handle weight, py::handle bias, py::handle channel_axis, py::handle eps,
                      py::handle out) {
  const char* function = "batch_norm";
  const Channels channels = require_channels(function, x, channel_axis);
  const ArrayView mean =
      require_running({function, "running_mean"}, running_mean, channels.x, channels.count);
  const ArrayView var =
      require_running({function, "running_var"}, running_var, channels.x, channels.count);
  const Affine affine = require_affine(function, channels, weight, bias);
  const double eps_value = require_eps({function, "eps"}, eps);
  const Name out_name{function, "out"};
  const ArrayView out_view = optional_out(out_name, out, channels.x);
  require_no_overlap(out_name, out_view, "x", channels.x, true);
  require_apart(out_name, out_view,
                {{"weight", affine.weight},
                 {"bias", affine.bias},
                 {"running_mean", mean},
                 {"running_var", var}});
  Execution execution(channels.x);
  const std::int64_t values = channels.count * channels.split.inner;
  execution.stage_by_rows(channels.split.outer, 2 * values * channels.x.item_bytes);
  const ForwardOperands operands = forward_operands(execution, channels, affine, out_view);
  const Operand mean_operand = dense_as(execution, mean, DType::float64, c_order(1));
  const Operand var_operand = dense_as(execution, var, DType::float64, c_order(1));
  auto arguments = forward_arguments<BatchNormInference>(channels, operands, affine, eps_value);
  arguments.mean = mean_operand.as<const double>();
  arguments.var = var_operand.as<const double>();
  if (channels.x.size() > 0 && execution.by_rows()) {
    call_by_rows(execution, arguments);
  } else if (channels.x.size() > 0) {
    execution.call(&OpTable::batch_norm_inference, arguments, channels.x.size());
  }
  return delivered(execution, operands.y);
}

py::tuple batch_norm_forward(py::handle x, py::handle weight, py::handle bias,
                             py::handle channel_axis, py::handle eps, py::handle out) {
  const char* function = "batch_norm_forward";
  const Channels channels = require_channels(function, x, channel_axis);
  const Affine affine = require_affine(function, channels, weight, bias);
  const double eps_value = require_eps({function, "eps"}, eps);
  const std::int64_t values = channels.split.outer * channels.split.inner;
  if (values < 2) {
    fail_value({function, "x"}, "must have at least 2 values per channel in training, got " +
                                    std::to_string(values) + " with shape " +
                                    shape_text(channels.x.shape, channels.x.rank));
  }
  const Name out_name{function, "out"};
  const ArrayView out_view = optional_out(out_name, out, channels.x);
  require_no_overlap(out_name, out_view, "x", channels.x, true);
  require_apart(out_name, out_view, {{"weight", affine.weight}, {"bias", affine.bias}});
  Execution execution(channels.x);
  const ForwardOperands operands = forward_operands(execution, channels, affine, out_view);
  const Output mean = new_dense(execution, DType::float64, &channels.count, c_order(1));
  const Output var = new_dense(execution, DType::float64, &channels.count, c_order(1));
  const Output inv_std = new_dense(execution, DType::float64, &channels.count, c_order(1));
  auto arguments = forward_arguments<BatchNormForward>(channels, operands, affine, eps_value);
  arguments.mean = mean.operand.as<double>();
  arguments.var = var.operand.as<double>();
  arguments.inv_std = inv_std.operand.as<double>();
  if (channels.x.size() > 0) {
    execution.call(&OpTable::batch_norm_forward, arguments, channels.x.size());
  }
  return py::make_tuple(delivered(execution, operands.y), delivered(execution, mean),
                        delivered(execution, var), delivered(execution, inv_std), values);
}

py::tuple batch_norm_backward(py::handle grad_object, py::handle x, py::handle stats,
                              py::handle weight, py::handle channel_axis, py::handle frozen,
                              py::handle bias, py::handle out) {
  const char* function = "batch_norm_backward";
  const Channels channels = require_channels(function, x, channel_axis);
  const ArrayView grad = require_like({function, "grad_output"}, grad_object, channels.x);
  require_named_tuple({function, "stats"}, stats, "BatchStats");
  const ArrayView mean = require_statistic({function, "stats.mean"}, stats.attr("mean"), channels.x,
                                           &channels.count, 1);
  const ArrayView inv_std = require_statistic({function, "stats.inv_std"}, stats.attr("inv_std"),
                                              channels.x, &channels.count, 1);
  const Affine affine = require_affine(function, channels, weight, py::none());
  const bool is_frozen = require_flag({function, "frozen"}, frozen);
  const bool want_bias = require_flag({function, "bias"}, bias);
  const Name out_name{function, "out"};
  const ArrayView out_view = optional_out(out_name, out, channels.x);
  require_no_overlap(out_name, out_view, "grad_output", grad, true);
  require_apart(out_name, out_view,
                {{"x", channels.x},
                 {"weight", affine.weight},
                 {"stats.mean", mean},
                 {"stats.inv_std", inv_std}});
  Execution execution(channels.x);
  const Operand x_operand = readable(execution, channels.x, channels.split);
  const Operand grad_operand = readable(execution, grad, channels.split);
  const Operand mean_operand = dense(execution, mean, c_order(1));
  const Operand inv_std_operand = dense(execution, inv_std, c_order(1));
  const Operand weight_operand = dense(execution, affine.weight, c_order(1));
  const Output grad_x = output_like(execution, channels.x, out_view, channels.split);
  Output grad_weight;
  Output grad_bias;
  BatchNormBackward arguments{};
  arguments.dtype = channels.x.dtype;
  arguments.parameter_dtype = affine.dtype;
  arguments.frozen = is_frozen;
  arguments.batch = channels.split.outer;
  arguments.channels = channels.count;
  arguments.inner = channels.split.inner;
  arguments.grad_output_batch_stride = grad_operand.outer_stride;
  arguments.x_batch_stride = x_operand.outer_stride;
  arguments.grad_x_batch_stride = grad_x.operand.outer_stride;
  arguments.grad_output = grad_operand.data;
  arguments.x = x_operand.data;
  arguments.mean = mean_operand.as<const double>();
  arguments.inv_std = inv_std_operand.as<const double>();
  arguments.weight = weight_operand.data;
  arguments.grad_x = grad_x.operand.data;
  if (affine.weight) {
    grad_weight = new_dense(execution, affine.dtype, &channels.count, c_order(1));
    arguments.grad_weight = grad_weight.operand.data;
  }
  if (want_bias) {
    grad_bias = new_dense(execution, affine.dtype, &channels.count, c_order(1));
    arguments.grad_bias = grad_bias.operand.data;
  }
  execution.call(&OpTable::batch_norm_backward, arguments, channels.x.size());
  return py::make_tuple(delivered(execution, grad_x), delivered(execution, grad_weight),
                        delivered(execution, grad_bias));
}

}  // namespace

void bind_batch_norm(py::module_& module) {
  module.def("batch_norm", &batch_norm);
  module.def("batch_norm_forward", &batch_norm_forward);
  module.def("batch_norm_backward", &batch_norm_backward);
}

}  // namespace normdrop
