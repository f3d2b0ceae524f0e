// The sums of whole rows that their gradients need, and how a row is then written.
// x_hat = (x - mean) * inv_std is recomputed, never stored. In double for float64 and for float32
// rows that float_backward.h does not suit.
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/arithmetic/run_parameter.h"
#include "cpu/engines/axis.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr std::int64_t rows_together = 4;

struct RowPlan {
  RowSums sums;
  FloatStats stats;
  FloatSlopes slopes;
};

// Of neighbouring rows from `first` on. Where no mean was subtracted it is 0 here, and its factor too,
// which changes no bit of the rest.
template <class T>
struct RowGradients {
  const AxisBackward<T>& a;
  MeanFactors factors;
  std::int64_t first;
  const RunParameter<T>& weight;  // of all columns
  bool weight_is_plain;

  RowGradients at_row(std::int64_t row) const { return {a, factors, row, weight, weight_is_plain}; }
  Columns all_columns() const { return {0, a.reduced}; }
  double mean() const { return a.mean != nullptr ? a.mean[first] : 0.0; }
  double inv_std() const { return a.inv_std[first]; }
  const T* x() const { return a.x + first * a.x_outer_stride; }
  const T* grad_output() const { return a.grad_output + first * a.grad_output_outer_stride; }

  NORMDROP_OUT_OF_LINE RowSums sums_in_double(Columns columns) const {
    const T* values = x() + columns.begin;
    const T* grads = grad_output() + columns.begin;
    const wide<T>* weights = weight.from(columns.begin);
    const pack means = splat(mean());
    const pack inv_stds = splat(inv_std());
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for_each_pack(columns.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + i, extent) * load(weights + i, extent);
      const pack x_hat = keep(x_hat_of(load(values + i, extent), means, inv_stds), extent);
      sum_g = add(sum_g, g);
      sum_gx = add_product(sum_gx, g, x_hat);
    });
    return {total_of(sum_g), total_of(sum_gx)};
  }

  // Whether this row may take the passes in single precision.
  NORMDROP_LAMBDA_INLINE FloatStats stats() const {
    FloatStats stats{0.0f, 0.0f, 0.0f, false};
    if constexpr (suits_single<T>) {
      stats = float_stats(mean(), inv_std());
      stats.usable = stats.usable && (weight_is_plain ? has_ordinary_size(grad_output(), a.reduced)
                                                      : has_ordinary_size<true>(
                                                            grad_output(), a.reduced, a.weight));
    }
    return stats;
  }

  NORMDROP_LAMBDA_INLINE FloatSums float_sums(Columns columns, const FloatStats& stats) const {
    FloatSums sums;
    if constexpr (suits_single<T>) {
      sums.add_run(x() + columns.begin, grad_output() + columns.begin,
                   Weights{weight.from(columns.begin)}, any_length{columns.length}, stats);
    }
    return sums;
  }
  NORMDROP_OUT_OF_LINE RowSums sums_in_float(Columns columns, const FloatStats& stats) const {
    return float_sums(columns, stats).total();
  }

  RowSums sums(Columns columns, const FloatStats& stats) const {
    return stats.usable ? sums_in_float(columns, stats) : sums_in_double(columns);
  }

  // Of the whole row, from its chunks in order: whichever engine asks, the bits are the same.
  RowSums whole_sums(const FloatStats& stats) const {
    return a.reduced <= chunk_elements<T> ? sums(all_columns(), stats) : sums_of_chunks(stats);
  }
  NORMDROP_OUT_OF_LINE RowSums sums_of_chunks(const FloatStats& stats) const {
    constexpr std::int64_t chunk = chunk_elements<T>;
    Scratch<RowSums> parts((a.reduced + chunk - 1) / chunk);
    std::int64_t count = 0;
    for (std::int64_t begin = 0; begin < a.reduced; begin += chunk) {
      const std::int64_t left = a.reduced - begin;
      parts[count++] = sums({begin, left < chunk ? left : chunk}, stats);
    }
    return sum_in_order(parts.data(), count);
  }

  NORMDROP_LAMBDA_INLINE RowSums means_of(const RowSums& sums) const {
    return {factors.mean_g(sums.g), factors.mean_gx(sums.gx)};
  }

  NORMDROP_LAMBDA_INLINE FloatSlopes slopes(const RowSums& sums, const FloatStats& stats) const {
    const RowSums means = means_of(sums);
    return float_slopes(stats, inv_std(), inv_std(), means.g, means.gx);
  }

  // The sums of K rows; those of four short ones together, which is the same to the bit.
  template <int K>
  NORMDROP_LAMBDA_INLINE void add_up(RowPlan* plan) const {
    if constexpr (suits_single<T> && K == 4) {
      const bool in_float =
          plan[0].stats.usable & plan[1].stats.usable & plan[2].stats.usable & plan[3].stats.usable;
      if (in_float && a.reduced <= cpu::tuning::together_row_elements) {
        pack packs[2 * K];
        double totals[2 * K];
#pragma GCC unroll 1
        for (int k = 0; k < K; ++k) {
          const RowSumPacks sums =
              at_row(first + k).float_sums(all_columns(), plan[k].stats).packs();
          packs[k] = sums.g;
          packs[K + k] = sums.gx;
        }
        sums_of_lanes(packs, totals);
        for (int k = 0; k < K; ++k) plan[k].sums = {totals[k], totals[K + k]};
        return;
      }
    }
    for (int k = 0; k < K; ++k) plan[k].sums = at_row(first + k).whole_sums(plan[k].stats);
  }

  // A row's own gradients are the same whichever rows are beside it.
  template <int K>
  NORMDROP_OUT_OF_LINE void make_plans(RowPlan* plan) const {
    for (int k = 0; k < K; ++k) plan[k].stats = at_row(first + k).stats();
    add_up<K>(plan);
    for (int k = 0; k < K; ++k) at_row(first + k).finish(plan[k]);
  }

  // From the sums and the stats. Sums in float do not do where the coefficients do not.
  void finish(RowPlan& plan) const {
    plan.slopes = slopes(plan.sums, plan.stats);
    if (plan.stats.usable && !plan.slopes.usable) plan.sums = whole_sums(FloatStats{});
  }
};

}  // namespace normdrop::NORMDROP_ISA
