// Running statistics, which are updated in place.
#include <algorithm>
#include <vector>

#include "bindings/operations/operands.h"
#include "bindings/operations/operations.h"

namespace normdrop {
namespace {

// A running statistic to update.
ArrayView require_target(Name name, py::handle object, const ArrayView& stats) {
  const ArrayView view = require_single_or_double(name, object, stats);
  require_shape(name, view, stats.shape, 1);
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
      require_statistic({function, "stats.mean"}, stats.attr("mean"), batch_mean, &channels, 1);
  const ArrayView var =
      require_statistic({function, "stats.var"}, stats.attr("var"), batch_mean, &channels, 1);
  const ArrayView target_mean =
      require_target({function, "running_mean"}, running_mean, batch_mean);
  const ArrayView target_var = require_target({function, "running_var"}, running_var, batch_mean);
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
  Execution execution(mean);
  const MemoryOrder order = c_order(1);
  const Operand batch_mean_operand = dense(execution, mean, order);
  const Operand batch_var_operand = dense(execution, var, order);
  const Operand mean_operand = dense(execution, target_mean, order);
  const Operand var_operand = dense(execution, target_var, order);
  RunningStatsUpdate arguments{};
  arguments.mean_dtype = target_mean.dtype;
  arguments.var_dtype = target_var.dtype;
  arguments.channels = channels;
  arguments.momentum = share;
  arguments.var_factor = static_cast<double>(count) / static_cast<double>(count - taken);
  arguments.mean = batch_mean_operand.as<const double>();
  arguments.var = batch_var_operand.as<const double>();
  arguments.running_mean = mean_operand.data;
  arguments.running_var = var_operand.data;
  execution.call(&OpTable::update_running_stats, arguments, channels);
  deliver(execution, mean_operand, target_mean);
  deliver(execution, var_operand, target_var);
}

// inv_std = 1 / sqrt(var + eps), as the inference form of batch norm at x = 1, mean = 0 gives it.
void compute_inv_std(Execution& execution, const Operand& var, std::int64_t channels, double eps,
                     const Output& inv_std) {
  if (channels == 0) return;
  std::vector<double> ones_and_zeros(2 * channels, 0.0);
  std::fill_n(ones_and_zeros.begin(), channels, 1.0);
  const std::int64_t bytes = 2 * channels * static_cast<std::int64_t>(sizeof(double));
  const auto constants = execution.allocate(bytes);
  execution.table().copy_to_device(constants->data, ones_and_zeros.data(), bytes,
                                   execution.stream());
  BatchNormInference arguments{};
  arguments.dtype = arguments.parameter_dtype = DType::float64;
  arguments.batch = arguments.inner = 1;
  arguments.channels = arguments.x_batch_stride = arguments.y_batch_stride = channels;
  arguments.eps = eps;
  arguments.x = constants->data;
  arguments.mean = reinterpret_cast<const double*>(constants->data) + channels;
  arguments.var = var.as<const double>();
  arguments.y = inv_std.operand.data;
  execution.call(&OpTable::batch_norm_inference, arguments, channels);
}

// Running statistics on a device as (mean, var, inv_std) for the frozen backward pass.
py::tuple stats_from_running(py::handle running_mean, py::handle running_var, py::handle eps) {
  const char* function = "BatchStats.from_running";
  const ArrayView mean = require_single_or_double({function, "running_mean"}, running_mean);
  if (mean.rank != 1) {
    fail_value({function, "running_mean"},
               "must be 1-D, got shape " + shape_text(mean.shape, mean.rank));
  }
  const ArrayView var = require_single_or_double({function, "running_var"}, running_var, mean);
  require_shape({function, "running_var"}, var, mean.shape, 1);
  const double eps_value = require_eps({function, "eps"}, eps);
  Execution execution(mean);
  const MemoryOrder order = c_order(1);
  const Output mean_output = new_copy(execution, mean, DType::float64);
  const Output var_output = new_copy(execution, var, DType::float64);
  const Output inv_std = new_dense(execution, DType::float64, mean.shape, order);
  compute_inv_std(execution, var_output.operand, mean.shape[0], eps_value, inv_std);
  return py::make_tuple(delivered(execution, mean_output), delivered(execution, var_output),
                        delivered(execution, inv_std));
}

// Statistics of the host's memory as arrays of the kind of one on a device, and beside it.
py::tuple statistics_beside(py::handle other, const py::args& statistics) {
  const ArrayView view = require_single_or_double({"BatchStats.merged", "parts[0].mean"}, other);
  Execution execution(view);
  py::tuple results(statistics.size());
  for (std::size_t i = 0; i < statistics.size(); ++i) {
    const auto values =
        py::cast<py::array_t<double, py::array::c_style | py::array::forcecast>>(statistics[i]);
    const Output output = new_dense(execution, DType::float64, values.shape(), c_order(1));
    if (values.size() > 0) {
      execution.table().copy_to_device(output.operand.data, values.data(), values.nbytes(),
                                       execution.stream());
    }
    results[i] = delivered(execution, output);
  }
  return results;
}

}  // namespace

void bind_running_stats(py::module_& module) {
  module.def("stats_from_running", &stats_from_running);
  module.def("statistics_beside", &statistics_beside);
  module.def("update_running_stats", &update_running_stats);
}

}  // namespace normdrop
