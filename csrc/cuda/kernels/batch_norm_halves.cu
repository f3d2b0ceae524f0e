// The halves of batch norm, for statistics of several batches or machines: the statistics of
// (batch, channels, inner) alone; the sums of its gradients alone,
//   grad = sum(grad_output),   grad_x_hat = sum(grad_output * x^),   x^ = (x - mean) * inv_std
// and the gradient of x from sums over all elements that the statistics are of:
//   grad_x = ((grad_output - grad / count) - x^ * grad_x_hat / count) * inv_std * weight
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

// grad_x null and the strides of what is not there 0.
template <class T, class Arguments>
ChannelBackward<T> reading(const Arguments& a) {
  return {.arrays = {.grad_output = static_cast<const T*>(a.grad_output),
                     .x = static_cast<const T*>(a.x),
                     .statistics = {.mean = a.mean, .inv_std = a.inv_std},
                     .grad_x = nullptr,
                     .stream = a.stream},
          .shape = {a.batch, a.channels, a.inner},
          .grad_output_batch_stride = a.grad_output_batch_stride,
          .x_batch_stride = a.x_batch_stride,
          .grad_x_batch_stride = 0,
          .weight = {},
          .grad_weight = {},
          .grad_bias = {},
          .mean_factors = {}};
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    lines_of_sums(BatchNormBackwardApply a, Parameter<T> weight, GradientLine* lines) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (channel >= a.channels) return;
  const MeanFactors factors{1.0 / a.count, 1.0 / a.count};
  lines[channel] =
      line_of(a.mean[channel], a.inv_std[channel], a.grad[channel], a.grad_x_hat[channel], factors,
              static_cast<double>(weight.at(channel, 1)));
}

template <class T>
void apply(const BatchNormBackwardApply& a) {
  ChannelBackward<T> backward = reading<T>(a);
  backward.arrays.grad_x = static_cast<T*>(a.grad_x);
  backward.grad_x_batch_stride = a.grad_x_batch_stride;
  backward.mean_factors = {1.0 / a.count, 1.0 / a.count};
  GradientLine* lines = scratch<GradientLine>(a.stream, a.channels);
  launch("lines_of_sums", lines_of_sums<T>,
         grid_of(divided_up(a.channels, block_threads), block_threads), a.stream, a,
         parameter_of<T>(a.weight, a.parameter_dtype), lines);
  write_over_channels(backward, lines);
}

}  // namespace

void batch_stats(const BatchStatistics& a) {
  if (a.channels == 0) return;
  if (a.batch * a.inner == 0) {
    for (double* of_nothing : {a.mean, a.var, a.inv_std}) {
      fill_bytes(of_nothing, byte_of_nan, a.channels * bytes_of(DType::float64), a.stream);
    }
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    using T = decltype(element);
    forward_over_channels<T>(
        {.arrays = {.x = static_cast<const T*>(a.x),
                    .y = nullptr,
                    .weight = {},
                    .bias = {},
                    .measure = {.eps = a.eps},
                    .statistics = {.mean = a.mean, .var = a.var, .inv_std = a.inv_std},
                    .stream = a.stream},
         .shape = {a.batch, a.channels, a.inner},
         .x_batch_stride = a.x_batch_stride,
         .y_batch_stride = 0});
  });
}

void batch_norm_gradient_sums(const BatchNormGradientSums& a) {
  if (a.batch * a.channels * a.inner == 0) {
    const std::int64_t bytes = a.channels * bytes_of(DType::float64);
    fill_bytes(a.grad, 0, bytes, a.stream);
    fill_bytes(a.grad_x_hat, 0, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) {
    auto backward = reading<decltype(element)>(a);
    backward.grad = a.grad;
    backward.grad_x_hat = a.grad_x_hat;
    backward_over_channels(backward);
  });
}

void batch_norm_backward_apply(const BatchNormBackwardApply& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { apply<decltype(element)>(a); });
}

}  // namespace normdrop::NORMDROP_DEVICE
