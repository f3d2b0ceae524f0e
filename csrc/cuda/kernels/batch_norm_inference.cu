// Batch norm with statistics from elsewhere, of (batch, channels, inner):
//   y = (x - mean) * inv_std * weight + bias
// at inference, inv_std = 1 / sqrt(var + eps) of running statistics; or with statistics of several
// batches or machines, inv_std as it is given.
#include "cuda/engines/channel_norms.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

__device__ __forceinline__ Normaliser normaliser_at(double mean, double_double inv_std) {
  Normaliser n{};
  n.mean = {mean, 0.0};
  n.inv_std = inv_std;
  n.scale = 1.0;
  n.single = single_normaliser(n.mean, n.inv_std.high);
  return n;
}

__global__ void __launch_bounds__(block_threads)
    running_normalisers(const double* mean, const double* var, double eps, std::int64_t channels,
                        Normaliser* normalisers) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (channel >= channels) return;
  const double_double sum = two_sum(var[channel], eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  const bool constant = sum.high == 0.0;
  normalisers[channel] =
      normaliser_at(mean[channel], constant ? double_double{0.0, 0.0} : inverse_sqrt(sum));
}

// An infinite inv_std is that of a constant channel with eps = 0.
__global__ void __launch_bounds__(block_threads)
    given_normalisers(const double* mean, const double* inv_std, std::int64_t channels,
                      Normaliser* normalisers) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (channel >= channels) return;
  const double given = inv_std[channel];
  const bool constant = given * 0.0 != 0.0 && given == given;
  normalisers[channel] = normaliser_at(mean[channel], {constant ? 0.0 : given, 0.0});
}

LaunchDims grid_of_channels(std::int64_t channels) {
  return grid_of(divided_up(channels, block_threads), block_threads);
}

}  // namespace

void batch_norm_inference(const BatchNormInference& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  Normaliser* normalisers = scratch<Normaliser>(a.stream, a.channels);
  launch("running_normalisers", running_normalisers, grid_of_channels(a.channels), a.stream, a.mean,
         a.var, a.eps, a.channels, normalisers);
  for_dtype(a.dtype, [&](auto element) {
    apply_over_channels(channel_forward_of<decltype(element)>(a, {}, {}), normalisers);
  });
}

void batch_norm_apply(const BatchNormApply& a) {
  if (a.batch * a.channels * a.inner == 0) return;
  const auto lock = scratch_is_ours();
  Normaliser* normalisers = scratch<Normaliser>(a.stream, a.channels);
  launch("given_normalisers", given_normalisers, grid_of_channels(a.channels), a.stream, a.mean,
         a.inv_std, a.channels, normalisers);
  for_dtype(a.dtype, [&](auto element) {
    apply_over_channels(channel_forward_of<decltype(element)>(a, {}, {}), normalisers);
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
