// Batch norm (Ioffe and Szegedy 2015) of (batch, channels, inner), training and inference:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// A channel is a set of runs, one in every batch index; with inner == 1 (2-D and channels-last
// data) channels are columns instead. Both are cut into slots by their shape, so that few channels
// fill the card as well as many. Training reads a channel that stays on chip once, others twice.
#include "cuda/engines/channels.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T, class Arguments>
ForwardArrays<T> arrays_of(const Arguments& a, const Statistics& statistics) {
  return {static_cast<const T*>(a.x),
          static_cast<T*>(a.y),
          parameter_of<T>(a.weight, a.parameter_dtype),
          parameter_of<T>(a.bias, a.parameter_dtype),
          a.eps,
          statistics,
          a.stream};
}

template <class Arguments>
RunsInArray channels_as_runs(const Arguments& a) {
  return {a.channels,
          a.batch,
          a.inner,
          {a.inner, a.x_batch_stride, 1},
          {a.batch, a.channels, a.inner},
          a.x_batch_stride,
          a.y_batch_stride,
          {0, 1, 0},
          {0, 1, 0}};
}

template <class Arguments>
ColumnsInArray channels_as_columns(const Arguments& a) {
  return {1, a.batch, a.channels, {0, a.x_batch_stride, 1}, {0, a.y_batch_stride, 1}, {0, 0, 1}};
}

__global__ void __launch_bounds__(block_threads)
    running_normalisers(const double* mean, const double* var, double eps, std::int64_t channels,
                        Normaliser* normalisers) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (channel >= channels) return;
  Normaliser n{};
  n.mean = {mean[channel], 0.0};
  n.var = var[channel];
  n.scale = 1.0;
  const double_double sum = two_sum(var[channel], eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  n.inv_std = sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
  n.single = single_normaliser(n.mean, n.inv_std.high);
  normalisers[channel] = n;
}

template <class T>
void forward_on_chip(const BatchNormForward& a, const ForwardArrays<T>& arrays, const RunPlan& plan,
                     const ChunkSpread& spread) {
  const auto lie_aligned = [&](int unit) {
    return packs_lie_aligned<T>(a.x, a.x_batch_stride, unit) &&
           packs_lie_aligned<T>(a.y, a.y_batch_stride, unit);
  };
  for_run_packs<T>(a.inner, lie_aligned, [&](auto unit, auto aligned) {
    const NormaliseChannels<T> arguments{
        arrays,
        {a.inner, a.x_batch_stride, 1},
        {a.inner, a.y_batch_stride, 1},
        plan,
        Divisor(static_cast<double>(a.batch) * static_cast<double>(a.inner))};
    for_either(spread.of_block > 1, [&](auto several) {
      launch("normalise_channels", normalise_channels<T, unit.is, aligned.is, several.is>,
             clusters_of(spread, a.channels, block_threads), a.stream, arguments, spread);
    });
  });
}

template <class T>
void forward(const BatchNormForward& a) {
  const auto arrays = arrays_of<T>(a, {a.mean, a.var, a.inv_std});
  if (a.inner == 1) return forward_of_columns(arrays, channels_as_columns(a));
  const RunPlan plan = plan_runs<T>(a.channels, a.batch, a.inner);
  const ChunkSpread spread = spread_on_chip(plan.chunks, chunk_bytes<T>);
  if (spread.blocks > 0) return forward_on_chip(a, arrays, plan, spread);
  forward_of_runs(arrays, channels_as_runs(a));
}

template <class T>
void inference(const BatchNormInference& a) {
  const auto arrays = arrays_of<T>(a, {});
  Normaliser* normalisers = scratch<Normaliser>(a.stream, a.channels);
  launch("running_normalisers", running_normalisers,
         grid_of(divided_up(a.channels, block_threads), block_threads), a.stream, a.mean, a.var,
         a.eps, a.channels, normalisers);
  if (a.inner == 1) {
    apply_to_columns<false>(arrays, channels_as_columns(a), normalisers);
  } else {
    apply_to_runs<false>(arrays, channels_as_runs(a), normalisers);
  }
}

}  // namespace

void batch_norm_forward(const BatchNormForward& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
}

void batch_norm_inference(const BatchNormInference& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { inference<decltype(element)>(a); });
}

}  // namespace normdrop::NORMDROP_DEVICE
