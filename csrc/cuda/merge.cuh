// The second stage of a reduction: the slots of each group become its statistics or gradients.
// A warp merges a group: each lane its slots in order, then the lanes in a fixed tree.
#pragma once

#include "cuda/columns.cuh"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int merge_threads = 256;
inline constexpr int groups_per_merge_block = merge_threads / warp_threads;

// Slot s of group g lies at g * group_stride + s * slot_stride.
struct SlotLayout {
  std::int64_t groups;
  std::int64_t slots;
  std::int64_t group_stride;
  std::int64_t slot_stride;
};

inline SlotLayout slots_of(const RunPlan& plan) {
  return {plan.groups, plan.chunks, plan.chunks, 1};
}
inline SlotLayout slots_of(const ColumnPlan& plan) {
  return {plan.groups(), plan.slots, 1, plan.groups()};
}

__device__ __forceinline__ std::int64_t group_of_warp() {
  return static_cast<std::int64_t>(blockIdx.x) * groups_per_merge_block + warp_in_block();
}

template <class Value, class Combine>
__device__ __forceinline__ Value merged(const Value* slots, const SlotLayout& layout,
                                        std::int64_t group, Value empty, Combine&& combine) {
  Value value = empty;
  for (std::int64_t slot = lane_in_warp(); slot < layout.slots; slot += warp_threads) {
    const Value part = slots[group * layout.group_stride + slot * layout.slot_stride];
    value = slot < warp_threads ? part : combine(value, part);
  }
  return reduce_lanes<warp_threads>(value, combine);
}

// Statistics as the caller asked for them; any may be null.
struct Statistics {
  double* mean;
  double* var;
  double* inv_std;

  __device__ void set(std::int64_t group, const Normaliser& n) const {
    if (mean != nullptr) mean[group] = reported_mean(n);
    if (var != nullptr) var[group] = reported_var(n);
    if (inv_std != nullptr) inv_std[group] = reported_inv_std(n);
  }
};

template <class T>
__global__ void __launch_bounds__(merge_threads)
    merge_moments(const Moments* slots, SlotLayout layout, double eps, Statistics statistics,
                  Normaliser* normalisers) {
  const std::int64_t group = group_of_warp();
  if (group >= layout.groups) return;
  const Moments empty{0.0, {0.0, 0.0}, 0.0, 1.0};
  const Moments moments =
      merged(slots, layout, group, empty,
             [](const Moments& a, const Moments& b) { return merge(a, b); });
  if (lane_in_warp() != 0) return;
  const Normaliser n = normaliser_of<T>(moments, eps);
  statistics.set(group, n);
  normalisers[group] = n;
}

// grad_x = ((grad_output * weight - mean_g) - x^ * mean_gx) * factor
struct GradientLine {
  double mean;
  double inv_std;
  double mean_g;
  double mean_gx;
  double factor;
};

// What becomes of the sums of a group: parameter gradients, a line for grad_x, or both.
template <class T>
struct GradientMerge {
  const GradientSums<T>* slots;
  SlotLayout layout;
  ParameterGradient<T> grad_weight;
  ParameterGradient<T> grad_bias;
  GradientLine* lines;  // or null
  const double* mean;
  const double* inv_std;
  Parameter<T> factor_weight;  // of the group: part of the factor
  double reciprocal;           // 1 / count, or 0 where the statistics were constants
};

template <class T>
__global__ void __launch_bounds__(merge_threads) merge_gradients(GradientMerge<T> a) {
  const std::int64_t group = group_of_warp();
  if (group >= a.layout.groups) return;
  const GradientSums<T> sums =
      merged(a.slots, a.layout, group, GradientSums<T>{},
             [](const GradientSums<T>& u, const GradientSums<T>& v) { return combine(u, v); });
  if (lane_in_warp() != 0) return;
  const double g = sums.g.total().high;
  const double gx = sums.gx.total().high;
  a.grad_bias.set(group, g);
  a.grad_weight.set(group, gx);
  if (a.lines == nullptr) return;
  const double inv_std = a.inv_std[group];
  const bool constants = a.reciprocal == 0.0;
  a.lines[group] = {a.mean[group], inv_std, constants ? 0.0 : g * a.reciprocal,
                    constants ? 0.0 : gx * a.reciprocal,
                    inv_std * static_cast<double>(a.factor_weight.at(group, 1))};
}

}  // namespace normdrop::NORMDROP_DEVICE
