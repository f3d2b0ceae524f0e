// Norms of channels that stay on chip, forward and backward:
//   y = (x - mean) * inv_std * weight + bias
//   grad_x = ((g - mean_g) - x^ * mean_g_x_hat) * inv_std * weight
// x is read once forward, grad_output and x once backward,
// a chunk in each block of a cluster, forward in some cards' shared memory several. The chunks, and
// the order in which they are merged, are those of the passes through memory, and so are the bits.
#pragma once

#include "cuda/engines/norm_backward.cuh"
#include "cuda/engines/on_chip.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct NormaliseChannels {
  ForwardArrays<T> arrays;
  IndexMap x_map;  // (channel, run, element)
  IndexMap y_map;
  RunPlan plan;
  Divisor divisor;  // what the squares of a channel are divided by
};

// Single elements of several chunks take more registers than two blocks leave.
template <int unit, bool several>
inline constexpr int channel_blocks_resident =
    !several   ? cuda_tuning::chunk_threads_resident / block_threads
    : unit > 1 ? cuda_tuning::several_blocks_resident
               : 1;

template <class T, int unit, bool aligned, bool several>
__global__ void __launch_bounds__(block_threads, channel_blocks_resident<unit, several>)
    normalise_channels(NormaliseChannels<T> a, ChunkSpread spread) {
  using Elements = ChunkElements<T, unit, aligned>;
  const auto blocks = static_cast<unsigned>(spread.blocks);
  const std::int64_t channel = blockIdx.x / blocks;
  const auto of_channel = [&](int chunk) { return Chunk(a.plan, channel, chunk); };
  wide<T> weight[unit];
  wide<T> bias[unit];
  fill(weight, a.arrays.weight.at(channel, 1));
  fill(bias, a.arrays.bias.at(channel, 0));
  const auto outline = [&](int chunk) { return Elements(of_channel(chunk)); };
  const auto load = [&](Elements& elements, int chunk) {
    elements.load(a.arrays.x, a.x_map, of_channel(chunk));
  };
  const auto report = [&](const Normaliser& n) { a.arrays.statistics.set(channel, n); };
  const auto write = [&](Elements& elements, int chunk, const Normaliser& n) {
    const Chunk place = of_channel(chunk).afresh();
    T* to = a.arrays.y + place.first(a.y_map);
    const Held<T> held = hold<T>(n);
#pragma unroll
    for (int k = 0; k < Elements::packs; ++k) {
      if (Elements::empty(k, place)) continue;
      forget_widened(elements.pack[k]);
      normalise_pack<true>(elements.pack[k], held, &n, weight, bias,
                           a.arrays.bias.values != nullptr);
      elements.write(to, a.y_map, place, k);
    }
  };
  normalise_on_chip<T, several>(spread, static_cast<int>(blockIdx.x % blocks),
                                a.arrays.measure.statistic(), a.divisor, a.arrays.measure.eps,
                                outline, load, report, write);
}

template <class T>
struct GradientOfChannels {
  BackwardArrays<T> arrays;
  Parameter<T> weight;
  ParameterGradient<T> grad_weight;
  ParameterGradient<T> grad_bias;
  IndexMap grad_output_map;  // (channel, run, element)
  IndexMap x_map;
  IndexMap grad_x_map;
  RunPlan plan;
  MeanFactors mean_factors;
};

template <class T, int unit, bool aligned>
__device__ __forceinline__ GradientSums<T> sums_of(const ChunkElements<T, unit, aligned>& grad,
                                                   const ChunkElements<T, unit, aligned>& x,
                                                   double mean, double inv_std) {
  GradientSums<T> sums{};
#pragma unroll
  for (int k = 0; k < grad.packs; ++k) {
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (!grad.holds(k, j)) continue;
      const double value = static_cast<double>(widened(x.pack[k][j]));
      sums.add(static_cast<double>(widened(grad.pack[k][j])), (value - mean) * inv_std);
    }
  }
  return sums;
}

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(block_threads,
                                  cuda_tuning::gradient_threads_resident / block_threads)
    gradient_of_channels(GradientOfChannels<T> a) {
  SHARED_ARRAY(GradientSums<T>, sum_slots, slots_for<block_threads>);
  SHARED_ARRAY(GradientSums<T>, part, 1);
  const Chunk chunk(a.plan);
  ChunkElements<T, unit, aligned> grad(chunk);
  ChunkElements<T, unit, aligned> x(chunk);
  grad.load(a.arrays.grad_output, a.grad_output_map, chunk);
  x.load(a.arrays.x, a.x_map, chunk.afresh());
  const double mean = a.arrays.statistics.mean_at(chunk.set);
  const double inv_std = a.arrays.statistics.inv_std_at(chunk.set);
  GradientSums<T> sums = reduce<block_threads>(sums_of(grad, x, mean, inv_std), sum_slots);
  if (a.plan.chunks > 1) sums = over_cluster(sums, part, static_cast<int>(a.plan.chunks));
  const double grad_sum = sums.grad.total().high;
  const double grad_x_hat_sum = sums.grad_x_hat.total().high;
  if (chunk.slot == 0 && threadIdx.x == 0) {
    a.grad_bias.set(chunk.set, grad_sum);
    a.grad_weight.set(chunk.set, grad_x_hat_sum);
  }
  const bool constants = a.mean_factors.none();
  const Chunk again = chunk.afresh();
  T* to = a.arrays.grad_x + again.first(a.grad_x_map);
  const GradientLine line = line_of(mean, inv_std, grad_sum, grad_x_hat_sum, a.mean_factors,
                                    static_cast<double>(a.weight.at(chunk.set, 1)));
#pragma unroll
  for (int k = 0; k < grad.packs; ++k) {
    if (grad.empty(k, chunk)) continue;
    forget_widened(grad.pack[k]);
    forget_widened(x.pack[k]);
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      grad.pack[k].set(j, gradient(grad.pack[k][j], x.pack[k][j], line, 1.0, constants));
    }
    grad.write(to, a.grad_x_map, again, k);
  }
  if (a.plan.chunks > 1) cluster_sync();  // no block may end while another still reads its part
}

}  // namespace normdrop::NORMDROP_DEVICE
