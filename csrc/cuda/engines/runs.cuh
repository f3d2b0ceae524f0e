// Reductions over sets of runs that do not stay on chip: a block reduces a chunk and writes its
// part,
//   moments of x, or sums of g = grad_output * weight and of g * x^
// to a slot, from where slots.cuh merges them.
#pragma once

#include "cuda/arithmetic/gradients.cuh"
#include "cuda/arithmetic/normalise.cuh"
#include "cuda/engines/chunks.cuh"
#include "cuda/engines/parameters.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(block_threads)
    run_moments(const T* x, IndexMap x_map, RunPlan plan, EitherStatistic statistic,
                Moments* slots) {
  SHARED_ARRAY(double, largest_slots, slots_for<block_threads>);
  SHARED_ARRAY(running_sums<T>, sum_slots, slots_for<block_threads>);
  SHARED_ARRAY(running_sums<T>, square_slots, slots_for<block_threads>);
  const Chunk chunk(plan);
  ChunkElements<T, unit, aligned> elements(chunk);
  elements.load(x, x_map, chunk);
  const Moments moments =
      moments_of<block_threads>(elements, Divisor(chunk.elements),
                                MomentSlots<T>{largest_slots, sum_slots, square_slots}, statistic);
  if (threadIdx.x == 0) slots[blockIdx.x] = moments;
}

// Mean and inv_std of a pack's elements, one of each where neighbours share them.
template <int unit>
struct StatisticsOfPack {
  double mean[unit];
  double inv_std[unit];

  template <class Arguments>
  __device__ __forceinline__ void load(const Arguments& a, std::int64_t first, int count) {
    const std::int64_t step = a.statistic_map.third;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (j >= count) break;
      mean[j] = j == 0 || step != 0 ? a.statistics.mean_at(first + j * step) : mean[0];
      inv_std[j] = j == 0 || step != 0 ? a.statistics.inv_std_at(first + j * step) : inv_std[0];
    }
  }
  template <class T>
  __device__ __forceinline__ double x_hat(T x, int j) const {
    return (static_cast<double>(widened(x)) - mean[j]) * inv_std[j];
  }
};

// Sums of g = grad_output * weight and of g * x^, over chunks of runs or down columns.
template <class T, class Plan>
struct SumGradients {
  const T* grad_output;
  const T* x;
  SetStatistics statistics;
  Parameter<T> weight;
  IndexMap grad_output_map;
  IndexMap x_map;
  IndexMap statistic_map;
  IndexMap weight_map;
  Plan plan;
  GradientSums<T>* slots;
  bool rectified;  // only elements count whose x is not above 0
};

// Adds the first `count` elements of a pack to sums that lie `step` apart: one for all, or one for
// each.
template <int step, class T, class Plan, int unit>
__device__ __forceinline__ void add_gradients(const SumGradients<T, Plan>& a,
                                              const Pack<T, unit>& grad_output,
                                              const Pack<T, unit>& x,
                                              const StatisticsOfPack<unit>& statistics,
                                              std::int64_t weight, int count,
                                              GradientSums<T>* sums) {
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= count) break;
    if (a.rectified && widened(x[j]) > 0) continue;
    const double g = static_cast<double>(widened(grad_output[j])) *
                     static_cast<double>(a.weight.at(weight + j * a.weight_map.third, 1));
    sums[j * step].add(g, statistics.x_hat(x[j], j));
  }
}

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(block_threads) run_gradients(SumGradients<T, RunPlan> a) {
  constexpr int packs = chunk_elements<T> / block_threads / unit;
  constexpr int together = cuda_tuning::packs_at_once;
  constexpr bool whole_packs = ChunkElements<T, unit, aligned>::whole_packs;
  static_assert(packs % together == 0);
  SHARED_ARRAY(GradientSums<T>, sum_slots, slots_for<block_threads>);
  const Chunk chunk(a.plan);
  const T* of_grad_output = a.grad_output + chunk.first(a.grad_output_map);
  const T* of_x = a.x + chunk.first(a.x_map);
  GradientSums<T> sums{};
  for (int first = 0; first < packs; first += together) {
    const auto index = [&](int k) {
      return (static_cast<int>(threadIdx.x) + (first + k) * block_threads) * unit;
    };
    Pack<T, unit> grad_output[together];
    Pack<T, unit> x[together];
    load_pairs<aligned, warp_threads, false>(grad_output, x, [&](int k) {
      return of_grad_output + chunk.beyond_first(a.grad_output_map, index(k));
    }, [&](int k) { return of_x + chunk.beyond_first(a.x_map, index(k)); }, [&](int k) {
      return chunk.place<unit>(index(k));
    });
#pragma unroll
    for (int k = 0; k < together; ++k) {
      if (index(k) >= chunk.elements) continue;
      const int count = whole_packs ? unit : chunk.elements - index(k);
      StatisticsOfPack<unit> statistics{};
      statistics.load(a, chunk.at(a.statistic_map, index(k)), count);
      add_gradients<0>(a, grad_output[k], x[k], statistics, chunk.at(a.weight_map, index(k)), count,
                       &sums);
    }
  }
  sums = reduce<block_threads>(sums, sum_slots);
  if (threadIdx.x == 0) a.slots[blockIdx.x] = sums;
}

}  // namespace normdrop::NORMDROP_DEVICE
