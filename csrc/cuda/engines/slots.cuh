// The second stage of a reduction: the slots of each set become its statistics or gradients.
// Where a set's slots are neighbours, a warp merges it: each lane its slots in order, then the
// lanes in a fixed tree. Where neighbours are other sets (columns), a thread goes down the slots of
// its column, some block rows share the slots, and are merged in order.
#pragma once

#include "cuda/engines/columns.cuh"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int merge_threads = column_threads;

// Slot s of set i lies at i * set_stride + s * slot_stride.
struct SlotLayout {
  std::int64_t sets;
  std::int64_t slots;
  std::int64_t set_stride;
  std::int64_t slot_stride;

  // Neighbours are other sets, not other slots of one.
  __host__ __device__ bool across_columns() const { return set_stride == 1 && slot_stride != 1; }
};

inline SlotLayout slots_of(const RunPlan& plan) { return {plan.sets, plan.chunks, plan.chunks, 1}; }
inline SlotLayout slots_of(const ColumnPlan& plan) {
  return {plan.sets(), plan.slots, 1, plan.sets()};
}

inline std::int64_t merge_blocks(const SlotLayout& layout) {
  const int sets_of_block = layout.across_columns() ? column_lanes : column_block_rows;
  return divided_up(layout.sets, sets_of_block);
}

// The set that this thread has the result of; -1: none.
template <class Value>
__device__ __forceinline__ std::int64_t merge_columns(const Value* slots, const SlotLayout& layout,
                                                      Value* value, Value* shared) {
  const std::int64_t set = static_cast<std::int64_t>(blockIdx.x) * column_lanes + lane_in_warp();
#pragma unroll 4
  for (std::int64_t slot = warp_in_block(); set < layout.sets && slot < layout.slots;
       slot += column_block_rows) {
    *value = combine(*value, slots[set + slot * layout.slot_stride]);
  }
  Value values[1] = {*value};
  combine_block_rows(values, shared);
  *value = values[0];
  return warp_in_block() == 0 && set < layout.sets ? set : -1;
}

// The set that this thread has the result of, or -1. `value` starts as the value of no slots;
// `in_warp(slot)` merges slots that are neighbours, by a warp.
template <class Value, class InWarp>
__device__ __forceinline__ std::int64_t merge_slots(const Value* slots, const SlotLayout& layout,
                                                    Value* value, Value* shared, InWarp&& in_warp) {
  if (layout.across_columns()) return merge_columns(slots, layout, value, shared);
  const std::int64_t set =
      static_cast<std::int64_t>(blockIdx.x) * column_block_rows + warp_in_block();
  if (set >= layout.sets) return -1;
  const Value* first = slots + set * layout.set_stride;
  *value = in_warp([&](std::int64_t slot) { return first[slot]; });
  return lane_in_warp() == 0 ? set : -1;
}

// What the squares of a set are divided by: their count; or 1, for the length of weight norm.
struct Measure {
  bool centred = true;
  bool averaged = true;
  double eps = 0.0;

  __host__ __device__ EitherStatistic statistic() const { return {centred}; }
  double divisor(double count) const { return averaged ? count : 1.0; }
};

// `normalisers` may be null.
template <class T>
__global__ void __launch_bounds__(merge_threads)
    merge_moments(const Moments* slots, SlotLayout layout, Measure measure, Statistics statistics,
                  Normaliser* normalisers) {
  SHARED_ARRAY(Moments, shared, merge_threads);
  Moments moments = no_moments();
  const std::int64_t set = merge_slots(slots, layout, &moments, shared, [&](auto&& slot) {
    return merge_in_warp<T>(layout.slots, slot);
  });
  if (set < 0) return;
  const Divisor divisor(measure.averaged ? moments.count : 1.0);
  const Normaliser n =
      normaliser_of<T>(moments, divisor, measure.eps, EitherStatistic{measure.centred});
  statistics.set(set, n);
  if (normalisers != nullptr) normalisers[set] = n;
}

// What becomes of the sums of a set: parameter gradients, a line for grad_x, or both.
template <class T>
struct GradientMerge {
  const GradientSums<T>* slots;
  SlotLayout layout;
  ParameterGradient<T> grad_weight;
  ParameterGradient<T> grad_bias;
  GradientLine* lines;  // or null
  SetStatistics statistics;
  Parameter<T> factor_weight;  // of the set: part of the factor
  MeanFactors mean_factors;
  double* grad;  // the sums themselves, or null
  double* grad_x_hat;
};

template <class T>
__global__ void __launch_bounds__(merge_threads) merge_gradients(GradientMerge<T> a) {
  SHARED_ARRAY(GradientSums<T>, shared, merge_threads);
  GradientSums<T> sums{};
  const std::int64_t set = merge_slots(a.slots, a.layout, &sums, shared, [&](auto&& slot) {
    GradientSums<T> of_lane{};
    for (std::int64_t i = lane_in_warp(); i < a.layout.slots; i += warp_threads) {
      of_lane = combine(of_lane, slot(i));
    }
    return reduce_lanes<warp_threads>(of_lane);
  });
  if (set < 0) return;
  const double grad = sums.grad.total().high;
  const double grad_x_hat = sums.grad_x_hat.total().high;
  a.grad_bias.set(set, grad);
  a.grad_weight.set(set, grad_x_hat);
  if (a.grad != nullptr) a.grad[set] = grad;
  if (a.grad_x_hat != nullptr) a.grad_x_hat[set] = grad_x_hat;
  if (a.lines == nullptr) return;
  a.lines[set] = line_of(a.statistics.mean_at(set), a.statistics.inv_std_at(set), grad, grad_x_hat,
                         a.mean_factors, static_cast<double>(a.factor_weight.at(set, 1)));
}

}  // namespace normdrop::NORMDROP_DEVICE
