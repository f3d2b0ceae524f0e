// The second stage of a reduction: the slots of each group become its statistics or gradients.
// Where a group's slots are neighbours, a warp merges it: each lane its slots in order, then the
// lanes in a fixed tree. Where neighbours are other groups (columns), a thread goes down the slots of
// its column, some block rows share the slots, and are merged in order.
#pragma once

#include "cuda/columns.cuh"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int merge_threads = column_threads;

// Slot s of group g lies at g * group_stride + s * slot_stride.
struct SlotLayout {
  std::int64_t groups;
  std::int64_t slots;
  std::int64_t group_stride;
  std::int64_t slot_stride;

  // Neighbours are other groups, not other slots of one.
  __host__ __device__ bool across_columns() const { return group_stride == 1 && slot_stride != 1; }
};

inline SlotLayout slots_of(const RunPlan& plan) {
  return {plan.groups, plan.chunks, plan.chunks, 1};
}
inline SlotLayout slots_of(const ColumnPlan& plan) {
  return {plan.groups(), plan.slots, 1, plan.groups()};
}

inline std::int64_t merge_blocks(const SlotLayout& layout) {
  const int groups_of_block = layout.across_columns() ? column_lanes : column_block_rows;
  return divided_up(layout.groups, groups_of_block);
}

// The group that this thread has the result of; -1: none.
template <class Value>
__device__ __forceinline__ std::int64_t merge_columns(const Value* slots, const SlotLayout& layout,
                                                      Value* value, Value* shared) {
  const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * column_lanes + lane_in_warp();
#pragma unroll 4
  for (std::int64_t slot = warp_in_block(); group < layout.groups && slot < layout.slots;
       slot += column_block_rows) {
    *value = combine(*value, slots[group + slot * layout.slot_stride]);
  }
  Value values[1] = {*value};
  combine_block_rows(values, shared);
  *value = values[0];
  return warp_in_block() == 0 && group < layout.groups ? group : -1;
}

// The group that this thread has the result of, or -1. `value` starts as the value of no slots;
// `in_warp(slot)` merges slots that are neighbours, by a warp.
template <class Value, class InWarp>
__device__ __forceinline__ std::int64_t merge_slots(const Value* slots, const SlotLayout& layout,
                                                    Value* value, Value* shared, InWarp&& in_warp) {
  if (layout.across_columns()) return merge_columns(slots, layout, value, shared);
  const std::int64_t group =
      static_cast<std::int64_t>(blockIdx.x) * column_block_rows + warp_in_block();
  if (group >= layout.groups) return -1;
  const Value* first = slots + group * layout.group_stride;
  *value = in_warp([&](std::int64_t slot) { return first[slot]; });
  return lane_in_warp() == 0 ? group : -1;
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
  SHARED_ARRAY(Moments, shared, merge_threads);
  Moments moments = no_moments();
  const std::int64_t group = merge_slots(slots, layout, &moments, shared, [&](auto&& slot) {
    return merge_in_warp<T>(layout.slots, slot);
  });
  if (group < 0) return;
  const Normaliser n = normaliser_of<T>(moments, Divisor(moments.count), eps);
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

// Where the statistics were constants, reciprocal is 0 and gradient() uses the factor alone.
__device__ __forceinline__ GradientLine line_of(double mean, double inv_std, double g, double gx,
                                                double reciprocal, double weight) {
  return {mean, inv_std, g * reciprocal, gx * reciprocal, inv_std * weight};
}

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
  SHARED_ARRAY(GradientSums<T>, shared, merge_threads);
  GradientSums<T> sums{};
  const std::int64_t group = merge_slots(a.slots, a.layout, &sums, shared, [&](auto&& slot) {
    GradientSums<T> of_lane{};
    for (std::int64_t i = lane_in_warp(); i < a.layout.slots; i += warp_threads) {
      of_lane = combine(of_lane, slot(i));
    }
    return reduce_lanes<warp_threads>(of_lane);
  });
  if (group < 0) return;
  const double g = sums.g.total().high;
  const double gx = sums.gx.total().high;
  a.grad_bias.set(group, g);
  a.grad_weight.set(group, gx);
  if (a.lines == nullptr) return;
  a.lines[group] = line_of(a.mean[group], a.inv_std[group], g, gx, a.reciprocal,
                           static_cast<double>(a.factor_weight.at(group, 1)));
}

}  // namespace normdrop::NORMDROP_DEVICE
