// Backward of group norm and instance norm, of x (batch, before, channels, after):
//   grad_x = ((g - mean(g)) - x^ * mean(g * x^)) * inv_std,   g = grad_output * weight
//   grad_weight = sum of grad_output * x^,   grad_bias = sum of grad_output
// The means run over a group, the sums over batch and positions: both come from the sums of each
// channel at each batch index, so that grad_output and x are read twice.
#include "cuda/engines/fill.cuh"
#include "cuda/engines/groups.cuh"
#include "cuda/engines/norm_backward.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/group_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

// Statistics of groups, for each of their channels.
__global__ void __launch_bounds__(block_threads)
    statistics_of_channels(GroupNormBackward a, double* mean, double* inv_std) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (i >= a.batch * a.channels) return;
  const std::int64_t set = i / (a.channels / a.groups);
  mean[i] = a.mean[set];
  inv_std[i] = a.inv_std[set];
}

// A warp for each set: from the sums of its channels their lines.
template <class T>
__global__ void __launch_bounds__(block_threads)
    lines_of_groups(GroupNormBackward a, Parameter<T> weight, const double* grad,
                    const double* grad_x_hat, double reciprocal, GradientLine* lines) {
  constexpr int warps = block_threads / warp_threads;
  const std::int64_t set = static_cast<std::int64_t>(blockIdx.x) * warps + warp_in_block();
  if (set >= a.batch * a.groups) return;
  const std::int64_t channels = a.channels / a.groups;
  const std::int64_t first = set * channels;
  const std::int64_t first_channel = set % a.groups * channels;
  GradientSums<double> sums{};
  for (std::int64_t c = lane_in_warp(); c < channels; c += warp_threads) {
    const double of_channel = static_cast<double>(weight.at(first_channel + c, 1));
    sums.grad.add_term(grad[first + c] * of_channel);
    sums.grad_x_hat.add_term(grad_x_hat[first + c] * of_channel);
  }
  sums = reduce_lanes<warp_threads>(sums);
  const MeanFactors factors{reciprocal, reciprocal};
  const GradientLine line = line_of(a.mean[set], a.inv_std[set], sums.grad.total().high,
                                    sums.grad_x_hat.total().high, factors, 1.0);
  for (std::int64_t c = lane_in_warp(); c < channels; c += warp_threads) lines[first + c] = line;
}

// A thread for each channel: its sums over the batch, in order.
template <class T>
__global__ void __launch_bounds__(block_threads)
    gradients_of_channels(const double* grad, const double* grad_x_hat, std::int64_t batch,
                          std::int64_t channels, ParameterGradient<T> grad_weight,
                          ParameterGradient<T> grad_bias) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (c >= channels) return;
  GradientSums<double> sums{};
  for (std::int64_t n = 0; n < batch; ++n) {
    sums.grad.add_term(grad[n * channels + c]);
    sums.grad_x_hat.add_term(grad_x_hat[n * channels + c]);
  }
  grad_bias.set(c, sums.grad.total().high);
  grad_weight.set(c, sums.grad_x_hat.total().high);
}

LaunchDims grid_of_threads(std::int64_t threads) {
  return grid_of(divided_up(threads, block_threads), block_threads);
}

template <class T>
class Backward {
 public:
  explicit Backward(const GroupNormBackward& a)
      : a_(a), shape_(a), weight_(parameter_of<T>(a.weight, a.parameter_dtype)) {}

  void run() {
    const std::int64_t channels = shape_.batch * shape_.channels;
    const std::int64_t slots_count =
        shape_.after == 1 ? column_plan().slots * channels : run_plan().chunks * channels;
    const auto [slots, mean, inv_std, grad, grad_x_hat, lines] =
        scratch<GradientSums<T>, double, double, double, double, GradientLine>(
            a_.stream, slots_count, channels, channels, channels, channels, channels);
    launch("statistics_of_channels", statistics_of_channels, grid_of_threads(channels), a_.stream,
           a_, mean, inv_std);
    arrays_ = {.grad_output = static_cast<const T*>(a_.grad_output),
               .x = static_cast<const T*>(a_.x),
               .statistics = {.mean = mean, .inv_std = inv_std},
               .grad_x = static_cast<T*>(a_.grad_x),
               .stream = a_.stream};
    sum_channels(slots, grad, grad_x_hat);
    launch("gradients_of_channels", gradients_of_channels<T>, grid_of_threads(shape_.channels),
           a_.stream, grad, grad_x_hat, shape_.batch, shape_.channels,
           parameter_gradient_of<T>(a_.grad_weight, a_.parameter_dtype),
           parameter_gradient_of<T>(a_.grad_bias, a_.parameter_dtype));
    launch("lines_of_groups", lines_of_groups<T>, grid_of_threads(shape_.sets() * warp_threads),
           a_.stream, a_, weight_, grad, grad_x_hat, 1.0 / shape_.count(), lines);
    write(lines);
  }

 private:
  ColumnPlan column_plan() const {
    return plan_columns(shape_.batch, shape_.before, shape_.channels,
                        column_unit<T>(shape_.channels));
  }
  RunPlan run_plan() const {
    return plan_runs<T>(shape_.batch * shape_.channels, shape_.before, shape_.after);
  }

  ReductionMaps<T> maps_of_columns() const {
    return {.grad_output = shape_.columns_in(a_.grad_output_batch_stride),
            .x = shape_.columns_in(a_.x_batch_stride),
            .statistic = {.first = shape_.channels, .third = 1},
            .weight = {},
            .weight_map = {.third = 1}};
  }

  // Of each channel at each batch index.
  void sum_channels(GradientSums<T>* slots, double* grad, double* grad_x_hat) const {
    GradientMerge<T> merge{};
    merge.slots = slots;
    merge.grad = grad;
    merge.grad_x_hat = grad_x_hat;
    if (shape_.after == 1) {
      sums_of_columns(arrays_, maps_of_columns(), shape_.batch, shape_.before, shape_.channels,
                      slots);
      merge.layout = slots_of(column_plan());
    } else {
      const ReductionMaps<T> maps{.grad_output = shape_.channels_in(a_.grad_output_batch_stride),
                                  .x = shape_.channels_in(a_.x_batch_stride),
                                  .statistic = {.first = 1},
                                  .weight = {},
                                  .weight_map = {}};
      sums_of_runs(arrays_, maps, run_plan(), slots);
      merge.layout = slots_of(run_plan());
    }
    merge_sums(merge, a_.stream);
  }

  void write(const GradientLine* lines) const {
    const GradientWrite<T> all{
        .lines = lines, .weight = weight_, .constants = false, .addend_map = {}};
    if (shape_.after == 1) {
      return write_columns<T>(arrays_, all, shape_.batch, shape_.before, shape_.channels,
                              maps_of_columns(), shape_.columns_in(a_.grad_x_batch_stride));
    }
    if (shape_.before == 1) {
      return write_elements<T>(arrays_, all, {shape_.batch, shape_.channels, shape_.after},
                               a_.grad_output_batch_stride, a_.x_batch_stride,
                               a_.grad_x_batch_stride, {.first = shape_.channels, .second = 1},
                               {.second = 1});
    }
    for (std::int64_t n = 0; n < shape_.batch; ++n) {
      BackwardArrays<T> of_batch = arrays_;
      of_batch.grad_output += n * a_.grad_output_batch_stride;
      of_batch.x += n * a_.x_batch_stride;
      of_batch.grad_x += n * a_.grad_x_batch_stride;
      GradientWrite<T> one = all;
      one.lines = lines + n * shape_.channels;
      const std::int64_t row = shape_.row_length();
      write_elements<T>(of_batch, one, {shape_.before, shape_.channels, shape_.after}, row, row,
                        row, {.second = 1}, {.second = 1});
    }
  }

  const GroupNormBackward& a_;
  GroupShape shape_;
  Parameter<T> weight_;
  BackwardArrays<T> arrays_{};
};

}  // namespace

void group_norm_backward(const GroupNormBackward& a) {
  if (GroupShape(a).empty()) {
    const std::int64_t bytes = a.channels * bytes_of(a.parameter_dtype);
    fill_bytes(a.grad_weight, 0, bytes, a.stream);
    fill_bytes(a.grad_bias, 0, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { Backward<decltype(element)>(a).run(); });
}

void instance_norm_backward(const InstanceNormBackward& a) { group_norm_backward(a); }

}  // namespace normdrop::NORMDROP_DEVICE
