// Gradients of whole rows: their sums, and the pass that writes.
// x_hat = (x - mean) * inv_std is recomputed, never stored. In double for float64 and for float32
// rows that float_backward.h does not suit.
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/arithmetic/normalise.h"
#include "cpu/engines/axis.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr std::int64_t rows_together = 4;

// Backward of `K` neighbouring rows. `Worker` is that of the epilogue. Where no mean was subtracted it
// is 0 here, and its factor too, which changes no bit of the rest.
template <class T, class Worker>
struct RowGradients {
  const AxisBackward<T>& a;
  Worker& worker;
  MeanFactors factors;
  std::int64_t first;
  const wide<T>* weight;  // of all columns (run_parameter.h)
  bool weight_is_plain = true;

  RowGradients at_row(std::int64_t row) const {
    return {a, worker, factors, row, weight, weight_is_plain};
  }
  Columns all_columns() const { return {0, a.reduced}; }
  double mean() const { return a.mean != nullptr ? a.mean[first] : 0.0; }
  const T* x() const { return a.x + first * a.x_outer_stride; }
  const T* grad_output() const { return a.grad_output + first * a.grad_output_outer_stride; }

  // The K rows' elements from a column on. Loops use these copies: a store could otherwise change
  // the struct that the pointers came from, as far as the compiler knows.
  template <int K>
  struct RowPointers {
    const T* x[K];
    const T* grad_output[K];
    T* grad_x[K];
    RowPointers(const RowGradients& rows, std::int64_t begin) {
      const AxisBackward<T>& a = rows.a;
      for (int k = 0; k < K; ++k) {
        const std::int64_t row = rows.first + k;
        x[k] = a.x + row * a.x_outer_stride + begin;
        grad_output[k] = a.grad_output + row * a.grad_output_outer_stride + begin;
        grad_x[k] = a.grad_x + row * a.grad_x_outer_stride + begin;
      }
    }
  };

  NORMDROP_OUT_OF_LINE RowSums sums_in_double(Columns columns) const {
    const T* values = x() + columns.begin;
    const T* grads = grad_output() + columns.begin;
    const wide<T>* weights = weight + columns.begin;
    const pack means = splat(mean());
    const pack inv_std = splat(a.inv_std[first]);
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for_each_pack(columns.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + i, extent) * load(weights + i, extent);
      const pack x_hat = keep(x_hat_of(load(values + i, extent), means, inv_std), extent);
      sum_g = add(sum_g, g);
      sum_gx = add_product(sum_gx, g, x_hat);
    });
    return {total_of(sum_g), total_of(sum_gx)};
  }

  // Whether this row may take the passes in single precision.
  NORMDROP_LAMBDA_INLINE FloatStats stats() const {
    FloatStats stats{0.0f, 0.0f, 0.0f, false};
    if constexpr (suits_single<T>) {
      stats = float_stats(mean(), a.inv_std[first]);
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
                   Weights{weight + columns.begin}, any_length{columns.length}, stats);
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
    return float_slopes(stats, a.inv_std[first], a.inv_std[first], means.g, means.gx);
  }

  // Writes columns of K rows and adds to the parameter gradients, which start at the same column
  // (null: not wanted). sums[k] are those of whole rows. Behind grad_weight and grad_bias, as far
  // again, float64 keeps their rounding errors.
  template <int K, bool parameters>
  NORMDROP_OUT_OF_LINE void write_in_double(Columns columns, const RowSums* sums,
                                            double* grad_weight, double* grad_bias) const {
    const wide<T>* weights = weight + columns.begin;
    const RowPointers<K> rows(*this, columns.begin);
    auto ending = worker.template columns<K>(first, columns);
    pack mean[K];
    pack inv_std[K];
    pack mean_g[K];
    pack mean_gx[K];
    for (int k = 0; k < K; ++k) {
      const RowSums means = means_of(sums[k]);
      mean[k] = splat(at_row(first + k).mean());
      inv_std[k] = splat(a.inv_std[first + k]);
      mean_g[k] = splat(means.g);
      mean_gx[k] = splat(means.gx);
    }
    const std::int64_t errors_at = parameters ? 2 * (grad_bias - grad_weight) : 0;
    for_each_pack(columns.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack w = load(weights + i, extent);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const pack grad = load(rows.grad_output[k] + i, extent);
        const pack x_hat = x_hat_of(load(rows.x[k] + i, extent), mean[k], inv_std[k]);
        const pack result = centred_gradient(grad * w, x_hat, mean_g[k], mean_gx[k]) * inv_std[k];
        if constexpr (parameters) add_in_memory<T>(grad_weight, errors_at, i, grad * x_hat);
        if constexpr (parameters) add_in_memory<T>(grad_bias, errors_at, i, grad);
        const pack gradient = ending.total(k, i, result, extent);
        store(rows.grad_x[k] + i, gradient, extent);
        ending.deliver(k, i, gradient, extent);
      }
    });
  }

  template <int K>
  void write_in_double(Columns columns, const RowSums* sums, double* grad_weight,
                       double* grad_bias) const {
    grad_weight ? write_in_double<K, true>(columns, sums, grad_weight, grad_bias)
                : write_in_double<K, false>(columns, sums, nullptr, nullptr);
  }

  // As above, in single precision; the K rows' parameter gradients are summed in float.
  template <int K, bool parameters>
  NORMDROP_OUT_OF_LINE void write_in_float(Columns columns, const FloatStats* stats,
                                           const FloatSlopes* slopes, double* grad_weight,
                                           double* grad_bias) const {
    const wide<T>* weights = weight + columns.begin;
    const RowPointers<K> rows(*this, columns.begin);
    auto ending = worker.template columns<K>(first, columns);
    const Writing how =
        writing_of<T>(a.grad_x, a.reduced, a.grad_x_outer_stride, a.outer * a.reduced);
    float_pack centre[K];
    float_pack inv_std[K];
    float_pack offset[K];
    float_pack slope_g[K];
    float_pack slope_x[K];
    float_pack shift[K];
    for (int k = 0; k < K; ++k) {
      centre[k] = splat_float(stats[k].centre);
      inv_std[k] = splat_float(stats[k].inv_std);
      offset[k] = splat_float(stats[k].offset);
      slope_g[k] = splat_float(slopes[k].slope_g);
      slope_x[k] = splat_float(slopes[k].slope_x);
      shift[k] = splat_float(slopes[k].shift);
    }
    for_each_pack_after(how.head, columns.length,
                        [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_pack w = load_float(weights + i, extent);
      float_pack sum_weight{};
      float_pack sum_bias{};
      float_pack result[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const float_pack grad = load_float(rows.grad_output[k] + i, extent);
        const float_pack near = load_float(rows.x[k] + i, extent) - centre[k];
        if constexpr (parameters) {
          sum_weight = multiply_add(grad, x_hat_of(near, inv_std[k], offset[k]), sum_weight);
          sum_bias = sum_bias + grad;
        }
        const float_pack on_line =
            gradient_on_line(grad * w, near, slope_g[k], slope_x[k], shift[k]);
        result[k] = ending.total(k, i, on_line, extent);
      }
      // Only now: with rows 4096 bytes apart a load seems to read what the row before just stored.
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        store(rows.grad_x[k] + i, result[k], extent, how);
        ending.deliver(k, i, result[k], extent);
      }
      if constexpr (parameters) store(grad_weight + i, load(grad_weight + i) + widen(sum_weight));
      if constexpr (parameters) store(grad_bias + i, load(grad_bias + i) + widen(sum_bias));
    });
  }

  template <int K>
  void write_in_float(Columns columns, const FloatStats* stats, const FloatSlopes* slopes,
                      double* grad_weight, double* grad_bias) const {
    grad_weight ? write_in_float<K, true>(columns, stats, slopes, grad_weight, grad_bias)
                : write_in_float<K, false>(columns, stats, slopes, nullptr, nullptr);
  }

  // Calls body(columns, grad_weight, grad_bias) for parts of the rows no longer than the epilogue
  // can take.
  template <class Body>
  void in_parts(double* grad_weight, double* grad_bias, Body&& body) const {
    for (std::int64_t begin = 0; begin < a.reduced; begin += Worker::most_columns) {
      const std::int64_t left = a.reduced - begin;
      const Columns columns{begin, left < Worker::most_columns ? left : Worker::most_columns};
      body(columns, grad_weight ? grad_weight + begin : nullptr,
           grad_bias ? grad_bias + begin : nullptr);
    }
  }

  // Writes columns of K rows, each in the precision that suits it.
  template <int K>
  void write(Columns columns, const RowSums* sums, const FloatStats* stats,
             const FloatSlopes* slopes, double* grad_weight, double* grad_bias) const {
    if constexpr (suits_single<T>) {
      bool all_float = true;
      for (int k = 0; k < K; ++k) all_float = all_float && slopes[k].usable;
      if (all_float) return write_in_float<K>(columns, stats, slopes, grad_weight, grad_bias);
    }
    for (int k = 0; k < K; ++k) {
      const RowGradients row = at_row(first + k);
      if constexpr (suits_single<T>) {
        if (slopes[k].usable) {
          row.template write_in_float<1>(columns, &stats[k], &slopes[k], grad_weight, grad_bias);
          continue;
        }
      }
      row.template write_in_double<1>(columns, &sums[k], grad_weight, grad_bias);
    }
  }

  // The sums of K rows; those of four short ones together, which is the same to the bit.
  template <int K>
  NORMDROP_LAMBDA_INLINE void add_up(const FloatStats* stats, RowSums* sum) const {
    if constexpr (suits_single<T> && K == 4) {
      const bool in_float = stats[0].usable & stats[1].usable & stats[2].usable & stats[3].usable;
      if (in_float && a.reduced <= cpu::tuning::together_row_elements) {
        pack packs[2 * K];
        double totals[2 * K];
#pragma GCC unroll 1
        for (int k = 0; k < K; ++k) {
          const RowSumPacks sums = at_row(first + k).float_sums(all_columns(), stats[k]).packs();
          packs[k] = sums.g;
          packs[K + k] = sums.gx;
        }
        sums_of_lanes(packs, totals);
        for (int k = 0; k < K; ++k) sum[k] = {totals[k], totals[K + k]};
        return;
      }
    }
    for (int k = 0; k < K; ++k) sum[k] = at_row(first + k).whole_sums(stats[k]);
  }

  // All passes over K rows. A row's own gradients are the same whichever rows are beside it.
  template <int K>
  void run(double* grad_weight, double* grad_bias) const {
    RowSums sum[K];
    FloatStats stats[K];
    FloatSlopes slopes[K];
    for (int k = 0; k < K; ++k) stats[k] = at_row(first + k).stats();
    add_up<K>(stats, sum);
    for (int k = 0; k < K; ++k) {
      const RowGradients row = at_row(first + k);
      slopes[k] = row.slopes(sum[k], stats[k]);
      if (stats[k].usable && !slopes[k].usable) sum[k] = row.whole_sums(FloatStats{});
    }
    in_parts(grad_weight, grad_bias, [&](Columns columns, double* weight, double* bias) {
      write<K>(columns, sum, stats, slopes, weight, bias);
    });
  }
};

}  // namespace normdrop::NORMDROP_ISA
