#include <cmath>
#include <cstring>

#include "bindings/layout.h"
#include "bindings/operations.h"
#include "bindings/runtime.h"

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

// Running statistics as float64, whatever their dtype and stride.
py::object running_statistic(Name name, py::handle object, py::ssize_t channels) {
  const ArrayView view = require_single_or_double(name, object);
  if (view.rank != 1 || view.shape[0] != channels) {
    fail_value(name, "must have shape " + shape_text(&channels, 1) + ", got " +
                         shape_text(view.shape, view.rank));
  }
  py::object copy = new_array(DType::float64, &channels, c_order(1));
  if (py::detail::npy_api::get().PyArray_CopyInto_(copy.ptr(), view.object) != 0) {
    throw py::error_already_set();
  }
  return copy;
}

double* data_of(const py::object& statistic) {
  return reinterpret_cast<double*>(view_of_new(statistic, DType::float64).data);
}

struct Affine {
  DType dtype;
  ArrayView weight;
  ArrayView bias;
  Operand weight_operand;
  Operand bias_operand;
};

Affine require_affine(const char* function, const Channels& channels, py::handle weight,
                      py::handle bias) {
  Affine affine;
  affine.weight =
      optional_parameter({function, "weight"}, weight, channels.x.dtype, &channels.count, 1);
  affine.bias = optional_parameter({function, "bias"}, bias, channels.x.dtype, &channels.count, 1);
  affine.dtype = require_parameter_dtype(function, channels.x.dtype, affine.weight, affine.bias);
  affine.weight_operand = dense(affine.weight, c_order(1));
  affine.bias_operand = dense(affine.bias, c_order(1));
  return affine;
}

// `out`, or a new array in x's memory order.
ArrayView output_of(const ArrayView& x, const ArrayView& out, py::handle out_object,
                    py::object* result) {
  if (out) {
    *result = py::reinterpret_borrow<py::object>(out_object);
    return out;
  }
  *result = new_array(x.dtype, x.shape, memory_order(x));
  return view_of_new(*result, x.dtype);
}

template <class Arguments>
void fill(Arguments* arguments, const Channels& channels, const Operand& x, const Operand& y,
          const Affine& affine, double eps) {
  arguments->dtype = channels.x.dtype;
  arguments->parameter_dtype = affine.dtype;
  arguments->batch = channels.split.outer;
  arguments->channels = channels.count;
  arguments->inner = channels.split.inner;
  arguments->x_batch_stride = x.outer_stride;
  arguments->y_batch_stride = y.outer_stride;
  arguments->eps = eps;
  arguments->x = x.data;
  arguments->weight = affine.weight_operand.data;
  arguments->bias = affine.bias_operand.data;
  arguments->y = y.data;
}

py::object batch_norm(py::handle x, py::handle running_mean, py::handle running_var,
                      py::handle weight, py::handle bias, py::handle channel_axis, py::handle eps,
                      py::handle out) {
  const char* function = "batch_norm";
  const Channels channels = require_channels(function, x, channel_axis);
  const py::object mean =
      running_statistic({function, "running_mean"}, running_mean, channels.count);
  const py::object var = running_statistic({function, "running_var"}, running_var, channels.count);
  const Affine affine = require_affine(function, channels, weight, bias);
  const double eps_value = require_eps({function, "eps"}, eps);
  const Name out_name{function, "out"};
  const ArrayView out_view = optional_out(out_name, out, channels.x);
  require_no_overlap(out_name, out_view, "x", channels.x, true);
  require_no_overlap(out_name, out_view, "weight", affine.weight, false);
  require_no_overlap(out_name, out_view, "bias", affine.bias, false);
  if (out_view) {
    require_no_overlap(out_name, out_view, "running_mean",
                       require_single_or_double({function, "running_mean"}, running_mean), false);
    require_no_overlap(out_name, out_view, "running_var",
                       require_single_or_double({function, "running_var"}, running_var), false);
  }
  py::object result;
  const ArrayView y = output_of(channels.x, out_view, out, &result);
  const Operand x_operand = readable(channels.x, channels.split);
  const Operand y_operand = writable(y, channels.split);
  BatchNormInference arguments{};
  fill(&arguments, channels, x_operand, y_operand, affine, eps_value);
  arguments.mean = data_of(mean);
  arguments.var = data_of(var);
  if (channels.x.size() > 0) {
    call(&OpTable::batch_norm_inference, arguments, channels.x.size());
    deliver(y_operand, y);
  }
  return result;
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
  require_no_overlap(out_name, out_view, "weight", affine.weight, false);
  require_no_overlap(out_name, out_view, "bias", affine.bias, false);
  py::object result;
  const ArrayView y = output_of(channels.x, out_view, out, &result);
  const Operand x_operand = readable(channels.x, channels.split);
  const Operand y_operand = writable(y, channels.split);
  const py::object mean = new_array(DType::float64, &channels.count, c_order(1));
  const py::object var = new_array(DType::float64, &channels.count, c_order(1));
  const py::object inv_std = new_array(DType::float64, &channels.count, c_order(1));
  BatchNormForward arguments{};
  fill(&arguments, channels, x_operand, y_operand, affine, eps_value);
  arguments.mean = data_of(mean);
  arguments.var = data_of(var);
  arguments.inv_std = data_of(inv_std);
  if (channels.x.size() > 0) {
    call(&OpTable::batch_norm_forward, arguments, channels.x.size());
    deliver(y_operand, y);
  }
  return py::make_tuple(result, mean, var, inv_std, values);
}

py::tuple batch_norm_backward(py::handle grad_object, py::handle x, py::handle stats,
                              py::handle weight, py::handle channel_axis, py::handle frozen,
                              py::handle bias, py::handle out) {
  const char* function = "batch_norm_backward";
  const Channels channels = require_channels(function, x, channel_axis);
  const ArrayView grad = require_like({function, "grad_output"}, grad_object, channels.x);
  require_named_tuple({function, "stats"}, stats, "BatchStats");
  const ArrayView mean =
      require_statistic({function, "stats.mean"}, stats.attr("mean"), &channels.count, 1);
  const ArrayView inv_std =
      require_statistic({function, "stats.inv_std"}, stats.attr("inv_std"), &channels.count, 1);
  const Affine affine = require_affine(function, channels, weight, py::none());
  const bool is_frozen = require_flag({function, "frozen"}, frozen);
  const bool want_bias = require_flag({function, "bias"}, bias);
  const Name out_name{function, "out"};
  const ArrayView out_view = optional_out(out_name, out, channels.x);
  require_no_overlap(out_name, out_view, "grad_output", grad, true);
  require_no_overlap(out_name, out_view, "x", channels.x, false);
  require_no_overlap(out_name, out_view, "weight", affine.weight, false);
  require_no_overlap(out_name, out_view, "stats.mean", mean, false);
  require_no_overlap(out_name, out_view, "stats.inv_std", inv_std, false);
  py::object result;
  const ArrayView grad_x = output_of(channels.x, out_view, out, &result);
  const Operand x_operand = readable(channels.x, channels.split);
  const Operand grad_operand = readable(grad, channels.split);
  const Operand grad_x_operand = writable(grad_x, channels.split);
  const Operand mean_operand = dense(mean, c_order(1));
  const Operand inv_std_operand = dense(inv_std, c_order(1));
  py::object grad_weight = py::none();
  py::object grad_bias = py::none();
  BatchNormBackward arguments{};
  arguments.dtype = channels.x.dtype;
  arguments.parameter_dtype = affine.dtype;
  arguments.frozen = is_frozen;
  arguments.batch = channels.split.outer;
  arguments.channels = channels.count;
  arguments.inner = channels.split.inner;
  arguments.grad_output_batch_stride = grad_operand.outer_stride;
  arguments.x_batch_stride = x_operand.outer_stride;
  arguments.grad_x_batch_stride = grad_x_operand.outer_stride;
  arguments.grad_output = grad_operand.data;
  arguments.x = x_operand.data;
  arguments.mean = reinterpret_cast<const double*>(mean_operand.data);
  arguments.inv_std = reinterpret_cast<const double*>(inv_std_operand.data);
  arguments.weight = affine.weight_operand.data;
  arguments.grad_x = grad_x_operand.data;
  if (affine.weight) {
    grad_weight = new_array(affine.dtype, &channels.count, c_order(1));
    arguments.grad_weight = view_of_new(grad_weight, affine.dtype).data;
  }
  if (want_bias) {
    grad_bias = new_array(affine.dtype, &channels.count, c_order(1));
    arguments.grad_bias = view_of_new(grad_bias, affine.dtype).data;
  }
  call(&OpTable::batch_norm_backward, arguments, channels.x.size());
  deliver(grad_x_operand, grad_x);
  return py::make_tuple(result, grad_weight, grad_bias);
}

// A running statistic to update.
ArrayView require_running(Name name, py::handle object, py::ssize_t channels) {
  const ArrayView view = require_single_or_double(name, object);
  if (view.rank != 1 || view.shape[0] != channels) {
    fail_value(name, "must have shape " + shape_text(&channels, 1) + ", got " +
                         shape_text(view.shape, view.rank));
  }
  return optional_out(name, object, view);
}

void update_running_stats(py::handle running_mean, py::handle running_var, py::handle stats,
                          py::handle momentum, py::handle correction) {
  const char* function = "update_running_stats";
  require_named_tuple({function, "stats"}, stats, "BatchStats");
  const ArrayView batch_mean =
      require_single_or_double({function, "stats.mean"}, stats.attr("mean"));
  if (batch_mean.rank != 1) {
    fail_value({function, "stats.mean"},
               "must be 1-D, got shape " + shape_text(batch_mean.shape, batch_mean.rank));
  }
  const py::ssize_t channels = batch_mean.shape[0];
  const ArrayView mean =
      require_statistic({function, "stats.mean"}, stats.attr("mean"), &channels, 1);
  const ArrayView var = require_statistic({function, "stats.var"}, stats.attr("var"), &channels, 1);
  const ArrayView target_mean = require_running({function, "running_mean"}, running_mean, channels);
  const ArrayView target_var = require_running({function, "running_var"}, running_var, channels);
  require_no_overlap({function, "running_var"}, target_var, "running_mean", target_mean, false);
  for (const ArrayView* target : {&target_mean, &target_var}) {
    const Name name{function, target == &target_mean ? "running_mean" : "running_var"};
    require_no_overlap(name, *target, "stats.mean", mean, false);
    require_no_overlap(name, *target, "stats.var", var, false);
  }
  const double share = require_number({function, "momentum"}, momentum);
  if (!(share >= 0.0 && share <= 1.0)) {
    fail_value({function, "momentum"},
               "must be from 0 to 1, got " + py::str(momentum).cast<std::string>());
  }
  const std::int64_t taken = require_integer({function, "correction"}, correction);
  if (taken != 0 && taken != 1) {
    fail_value({function, "correction"}, "must be 0 or 1, got " + std::to_string(taken));
  }
  const std::int64_t count = require_integer({function, "stats.count"}, stats.attr("count"));
  if (count <= taken) {
    fail_value({function, "stats.count"},
               "must be greater than correction = " + std::to_string(taken) + ", got " +
                   std::to_string(count));
  }
  const MemoryOrder order = c_order(1);
  const Operand batch_mean_operand = dense(mean, order);
  const Operand batch_var_operand = dense(var, order);
  const Operand mean_operand = dense(target_mean, order);
  const Operand var_operand = dense(target_var, order);
  RunningStatsUpdate arguments{};
  arguments.mean_dtype = target_mean.dtype;
  arguments.var_dtype = target_var.dtype;
  arguments.channels = channels;
  arguments.momentum = share;
  arguments.var_factor = static_cast<double>(count) / static_cast<double>(count - taken);
  arguments.mean = reinterpret_cast<const double*>(batch_mean_operand.data);
  arguments.var = reinterpret_cast<const double*>(batch_var_operand.data);
  arguments.running_mean = mean_operand.data;
  arguments.running_var = var_operand.data;
  call(&OpTable::update_running_stats, arguments, channels);
  deliver(mean_operand, target_mean);
  deliver(var_operand, target_var);
}

}  // namespace

void bind_batch_norm(py::module_& module) {
  module.def("batch_norm", &batch_norm);
  module.def("batch_norm_forward", &batch_norm_forward);
  module.def("batch_norm_backward", &batch_norm_backward);
  module.def("update_running_stats", &update_running_stats);
}

}  // namespace normdrop
