// Running statistics of batch norm (Ioffe and Szegedy 2015), in place, a thread for each channel:
//   running = (1 - momentum) * running + momentum * batch
// in double, rounded once to the dtype of the running statistic.
#include "cuda/engines/scratch.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;

__device__ __forceinline__ void update(void* running, DType dtype, std::int64_t channel,
                                       double batch, double momentum) {
  if (dtype == DType::float32) {
    float* at = static_cast<float*>(running) + channel;
    *at = rounded<float>((1.0 - momentum) * static_cast<double>(*at) + momentum * batch);
  } else {
    double* at = static_cast<double*>(running) + channel;
    *at = (1.0 - momentum) * *at + momentum * batch;
  }
}

__global__ void __launch_bounds__(threads) update_channels(RunningStatsUpdate a) {
  const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (channel >= a.channels) return;
  update(a.running_mean, a.mean_dtype, channel, a.mean[channel], a.momentum);
  update(a.running_var, a.var_dtype, channel, a.var[channel] * a.var_factor, a.momentum);
}

}  // namespace

void update_running_stats(const RunningStatsUpdate& a) {
  if (a.channels == 0) return;
  launch("update_channels", update_channels, grid_of(divided_up(a.channels, threads), threads),
         a.stream, a);
}

}  // namespace normdrop::NORMDROP_DEVICE
