// Backward of layer norm over whole rows: row sums, and the pass that writes gradients.
// x^ = (x - mean) * inv_std is recomputed, never stored. In double for float64 and for float32 rows
// that float_backward.h does not suit.
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/arithmetic/normalise.h"
#include "cpu/engines/slots.h"
#include "ops/layer_norm.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr std::int64_t rows_together = 4;

// Backward of `K` neighbouring rows of a layer norm with inner == 1.
template <class T>
struct RowsBackward {
  const LayerNormBackward& a;
  std::int64_t first;
  bool weight_is_plain = true;

  static const T* at(const void* base, std::int64_t stride, std::int64_t row) {
    return static_cast<const T*>(base) + row * stride;
  }

  // The K rows' elements from a column on. Loops use these copies: a store could otherwise change
  // the struct that the pointers came from, as far as the compiler knows.
  template <int K>
  struct RowPointers {
    const T* x[K];
    const T* grad_output[K];
    T* grad_x[K];
    RowPointers(const RowsBackward& rows, std::int64_t begin) {
      const LayerNormBackward& a = rows.a;
      for (int k = 0; k < K; ++k) {
        const std::int64_t row = rows.first + k;
        x[k] = at(a.x, a.x_outer_stride, row) + begin;
        grad_output[k] = at(a.grad_output, a.grad_output_outer_stride, row) + begin;
        grad_x[k] = static_cast<T*>(a.grad_x) + row * a.grad_x_outer_stride + begin;
      }
    }
  };

  template <bool has_weight>
  __attribute__((always_inline)) RowSums row_sums(std::int64_t begin, std::int64_t length) const {
    const T* x = at(a.x, a.x_outer_stride, first) + begin;
    const T* dy = at(a.grad_output, a.grad_output_outer_stride, first) + begin;
    const wide<T>* weight = has_weight ? static_cast<const wide<T>*>(a.weight) + begin : nullptr;
    const pack mean = splat(a.mean[first]);
    const pack inv_std = splat(a.inv_std[first]);
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      pack g = load(dy + i, extent);
      if constexpr (has_weight) g = g * load(weight + i, extent);
      const pack xh = keep((load(x + i, extent) - mean) * inv_std, extent);
      sum_g = add(sum_g, g);
      sum_gx = add_product(sum_gx, g, xh);
    });
    return {total_of(sum_g), total_of(sum_gx)};
  }

  // Whether this row may take the passes in single precision.
  FloatStats stats() const {
    FloatStats stats{0.0f, 0.0f, 0.0f, false};
    if constexpr (suits_single<T>) {
      stats = float_stats(a.mean[first], a.inv_std[first]);
      const T* grad = at(a.grad_output, a.grad_output_outer_stride, first);
      const auto* weight = static_cast<const float*>(a.weight);
      stats.usable =
          stats.usable && (weight_is_plain ? has_ordinary_size(grad, a.reduced)
                                           : has_ordinary_size<true>(grad, a.reduced, weight));
    }
    return stats;
  }

  RowSums float_sums(std::int64_t begin, std::int64_t length, const FloatStats& stats) const {
    FloatSums sums;
    if constexpr (suits_single<T>) {
      const T* x = at(a.x, a.x_outer_stride, first) + begin;
      const T* grad = at(a.grad_output, a.grad_output_outer_stride, first) + begin;
      const float* weight = static_cast<const float*>(a.weight);
      if (weight != nullptr) {
        sums.template add_run<true>(x, grad, weight + begin, any_length{length}, stats);
      } else {
        sums.template add_run<false>(x, grad, nullptr, any_length{length}, stats);
      }
    }
    return sums.total();
  }

  FloatSlopes slopes(const RowSums& sums, const FloatStats& stats) const {
    const double reciprocal = 1.0 / static_cast<double>(a.reduced);
    return float_slopes(stats, a.inv_std[first], a.inv_std[first], sums.g * reciprocal,
                        sums.gx * reciprocal);
  }

  RowSums sums(std::int64_t begin, std::int64_t length) const {
    return a.weight != nullptr ? row_sums<true>(begin, length) : row_sums<false>(begin, length);
  }

  // Writes columns [begin, begin + length) of K rows and adds to the parameter gradients, which
  // start at the same column (null: not wanted). sums[k] are those of whole rows. Behind
  // grad_weight and grad_bias, as far again, float64 keeps their rounding errors.
  template <int K, bool has_weight, bool parameters>
  __attribute__((always_inline)) void write_columns(std::int64_t begin, std::int64_t length,
                                                    const RowSums* sums, double* grad_weight,
                                                    double* grad_bias) const {
    const double reciprocal = 1.0 / static_cast<double>(a.reduced);
    const wide<T>* weight = has_weight ? static_cast<const wide<T>*>(a.weight) + begin : nullptr;
    const RowPointers<K> rows(*this, begin);
    pack mean[K];
    pack inv_std[K];
    pack mean_g[K];
    pack mean_gx[K];
    for (int k = 0; k < K; ++k) {
      mean[k] = splat(a.mean[first + k]);
      inv_std[k] = splat(a.inv_std[first + k]);
      mean_g[k] = splat(sums[k].g * reciprocal);
      mean_gx[k] = splat(sums[k].gx * reciprocal);
    }
    const std::int64_t errors_at = parameters ? 2 * (grad_bias - grad_weight) : 0;
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack w = has_weight ? load(weight + i, extent) : splat(1.0);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const pack dy = load(rows.grad_output[k] + i, extent);
        const pack xh = (load(rows.x[k] + i, extent) - mean[k]) * inv_std[k];
        const pack g = has_weight ? dy * w : dy;
        const pack centred = (g - mean_g[k]) - xh * mean_gx[k];
        if constexpr (parameters) add_in_memory<T>(grad_weight, errors_at, i, dy * xh);
        if constexpr (parameters) add_in_memory<T>(grad_bias, errors_at, i, dy);
        store(rows.grad_x[k] + i, centred * inv_std[k], extent);
      }
    });
  }

  template <int K>
  void write(std::int64_t begin, std::int64_t length, const RowSums* sums, double* grad_weight,
             double* grad_bias) const {
    for_parameters(a.weight != nullptr, grad_weight != nullptr, [&](auto weight, auto wanted) {
      write_columns<K, weight.is, wanted.is>(begin, length, sums, grad_weight, grad_bias);
    });
  }

  // As write_columns, in single precision; the K rows' parameter gradients are summed in float.
  template <int K, bool has_weight, bool parameters>
  __attribute__((always_inline)) void write_float_columns(const FloatStats* stats,
                                                          const FloatSlopes* slopes,
                                                          double* grad_weight,
                                                          double* grad_bias) const {
    const float* weight = static_cast<const float*>(a.weight);
    const RowPointers<K> rows(*this, 0);
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
    for_each_pack_after(how.head, a.reduced,
                        [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_pack w = has_weight ? load_float(weight + i, extent) : float_pack{};
      float_pack sum_weight{};
      float_pack sum_bias{};
      float_pack result[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const float_pack dy = load_float(rows.grad_output[k] + i, extent);
        const float_pack near = load_float(rows.x[k] + i, extent) - centre[k];
        const float_pack g = has_weight ? dy * w : dy;
        const float_pack rest = multiply_add(near, slope_x[k], shift[k]);
        if constexpr (parameters) {
          const float_pack xh = multiply_add(near, inv_std[k], offset[k]);
          sum_weight = multiply_add(dy, xh, sum_weight);
          sum_bias = sum_bias + dy;
        }
        result[k] = multiply_add(g, slope_g[k], rest);
      }
      // Only now: with rows 4096 bytes apart a load seems to read what the row before just stored.
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) store(rows.grad_x[k] + i, result[k], extent, how);
      if constexpr (parameters) store(grad_weight + i, load(grad_weight + i) + widen(sum_weight));
      if constexpr (parameters) store(grad_bias + i, load(grad_bias + i) + widen(sum_bias));
    });
  }

  template <int K>
  void write_float(const FloatStats* stats, const FloatSlopes* slopes, double* grad_weight,
                   double* grad_bias) const {
    for_parameters(a.weight != nullptr, grad_weight != nullptr, [&](auto weight, auto wanted) {
      write_float_columns<K, weight.is, wanted.is>(stats, slopes, grad_weight, grad_bias);
    });
  }

  // All passes over K rows. A row's own gradients are the same whichever rows are beside it.
  template <int K>
  void run(double* grad_weight, double* grad_bias) const {
    RowSums sum[K];
    FloatStats stats[K];
    FloatSlopes slopes[K];
    bool all_float = suits_single<T>;
    for (int k = 0; k < K; ++k) {
      const RowsBackward row{a, first + k, weight_is_plain};
      stats[k] = row.stats();
      if (stats[k].usable) sum[k] = row.float_sums(0, a.reduced, stats[k]);
      slopes[k] = stats[k].usable ? row.slopes(sum[k], stats[k]) : FloatSlopes{};
      if (!slopes[k].usable) sum[k] = row.sums(0, a.reduced);
      all_float = all_float && slopes[k].usable;
    }
    if constexpr (suits_single<T>) {
      if (all_float) return write_float<K>(stats, slopes, grad_weight, grad_bias);
    }
    for (int k = 0; k < K; ++k) {
      const RowsBackward row{a, first + k, weight_is_plain};
      if constexpr (suits_single<T>) {
        if (slopes[k].usable) {
          row.template write_float<1>(&stats[k], &slopes[k], grad_weight, grad_bias);
          continue;
        }
      }
      row.template write<1>(0, a.reduced, &sum[k], grad_weight, grad_bias);
    }
  }
};

}  // namespace normdrop::NORMDROP_ISA
