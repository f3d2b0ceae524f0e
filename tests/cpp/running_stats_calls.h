// The update of running statistics, in place, of either dtype: one call, checked.
#pragma once

#include "norm_arrays.h"

namespace normdrop::driver::running_stats {

template <class T>
std::vector<double> updated(const std::vector<T>& running, const std::vector<double>& batch,
                            double momentum, double factor) {
  std::vector<double> result;
  for (std::size_t i = 0; i < running.size(); ++i) {
    const double before = static_cast<double>(running[i]);
    result.push_back(before + momentum * (batch[i] * factor - before));
  }
  return result;
}

template <class M, class V>
void run(const Context& context, Memory& memory, std::int64_t channels, const Variant& variant) {
  Case one("update_running_stats of %lld; %s", static_cast<long long>(channels),
           variant.text().c_str());
  constexpr double momentum = 0.1;
  constexpr double factor = 9.0 / 8.0;
  const std::vector<double> mean_values = noise_values<double>(1, channels, 0.5);
  const std::vector<double> var_values = noise_values<double>(2, channels, 1.5);
  const std::vector<M> mean_before = noise_values<M>(3, channels);
  const std::vector<V> var_before = noise_values<V>(4, channels, 2.0);
  const Placement placement(memory, variant);
  Array<double> mean = placement.run(0, mean_values);
  Array<double> var = placement.run(1, var_values);
  Array<M> running_mean = placement.run(2, mean_before);
  Array<V> running_var = placement.run(3, var_before);
  Stream stream(context, 1);
  context.table.update_running_stats({
      .mean_dtype = dtype_of<M>,
      .var_dtype = dtype_of<V>,
      .channels = channels,
      .momentum = momentum,
      .var_factor = factor,
      .mean = mean.data(),
      .var = var.data(),
      .running_mean = running_mean.data(),
      .running_var = running_var.data(),
      .stream = stream.handle(),
  });
  stream.finish();
  Expected<M> expected_mean;
  Expected<V> expected_var;
  expected_mean.values = updated(mean_before, mean_values, momentum, 1.0);
  expected_var.values = updated(var_before, var_values, momentum, factor);
  expected_mean.check(one, "running_mean", running_mean, tolerance<M>);
  expected_var.check(one, "running_var", running_var, tolerance<V>);
  mean.check_unchanged(one, "mean", mean_values);
  var.check_unchanged(one, "var", var_values);
}

}  // namespace normdrop::driver::running_stats
