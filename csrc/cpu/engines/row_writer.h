// The pass that writes the gradients of neighbouring rows, and an epilogue's (axis.h) with them.
#pragma once

#include "cpu/engines/row_gradients.h"

namespace normdrop::NORMDROP_ISA {

// The K rows' elements from a column on. Loops use these copies: a store could otherwise change
// the struct that the pointers came from, as far as the compiler knows.
template <class T>
struct RowPointers {
  const T* x_;
  const T* grad_output_;
  T* grad_x_;
  std::int64_t x_stride;
  std::int64_t grad_output_stride;
  std::int64_t grad_x_stride;
  RowPointers(const RowGradients<T>& rows, std::int64_t begin)
      : x_(rows.x() + begin),
        grad_output_(rows.grad_output() + begin),
        grad_x_(rows.a.grad_x + rows.first * rows.a.grad_x_outer_stride + begin),
        x_stride(rows.a.x_outer_stride),
        grad_output_stride(rows.a.grad_output_outer_stride),
        grad_x_stride(rows.a.grad_x_outer_stride) {}
  const T* x(int k) const { return x_ + k * x_stride; }
  const T* grad_output(int k) const { return grad_output_ + k * grad_output_stride; }
  T* grad_x(int k) const { return grad_x_ + k * grad_x_stride; }
};

// `Worker` is that of the epilogue.
template <class T, class Worker>
struct RowWriter {
  RowGradients<T> rows;
  Worker& worker;

  // Writes columns of K rows and adds to the parameter gradients, which start at the same column
  // (null: not wanted). The plans are those of whole rows. Behind grad_weight and grad_bias, as far
  // again, float64 keeps their rounding errors.
  template <int K, bool parameters>
  NORMDROP_OUT_OF_LINE void write_in_double(Columns columns, const RowPlan* plan,
                                            double* grad_weight, double* grad_bias) const {
    const wide<T>* weights = rows.weight.from(columns.begin);
    const RowPointers<T> elements(rows, columns.begin);
    auto ending = worker.template columns<K>(rows.first, columns);
    pack mean[K];
    pack inv_std[K];
    pack mean_g[K];
    pack mean_gx[K];
    for (int k = 0; k < K; ++k) {
      const RowGradients<T> row = rows.at_row(rows.first + k);
      const RowSums means = row.means_of(plan[k].sums);
      mean[k] = splat(row.mean());
      inv_std[k] = splat(row.inv_std());
      mean_g[k] = splat(means.g);
      mean_gx[k] = splat(means.gx);
    }
    const std::int64_t errors_at = parameters ? 2 * (grad_bias - grad_weight) : 0;
    for_each_pack(columns.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack w = load(weights + i, extent);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const pack grad = load(elements.grad_output(k) + i, extent);
        const pack x_hat = x_hat_of(load(elements.x(k) + i, extent), mean[k], inv_std[k]);
        const pack result = centred_gradient(grad * w, x_hat, mean_g[k], mean_gx[k]) * inv_std[k];
        if constexpr (parameters) add_in_memory<T>(grad_weight, errors_at, i, grad * x_hat);
        if constexpr (parameters) add_in_memory<T>(grad_bias, errors_at, i, grad);
        const pack gradient = ending.total(k, i, result, extent);
        store(elements.grad_x(k) + i, gradient, extent);
        ending.deliver(k, i, gradient, extent);
      }
    });
  }

  template <int K>
  void write_in_double(Columns columns, const RowPlan* plan, double* grad_weight,
                       double* grad_bias) const {
    grad_weight ? write_in_double<K, true>(columns, plan, grad_weight, grad_bias)
                : write_in_double<K, false>(columns, plan, nullptr, nullptr);
  }

  // As above, in single precision; the K rows' parameter gradients are summed in float.
  template <int K, bool parameters>
  NORMDROP_OUT_OF_LINE void write_in_float(Columns columns, const RowPlan* plan,
                                           double* grad_weight, double* grad_bias) const {
    const AxisBackward<T>& a = rows.a;
    const wide<T>* weights = rows.weight.from(columns.begin);
    const RowPointers<T> elements(rows, columns.begin);
    auto ending = worker.template columns<K>(rows.first, columns);
    const Writing how =
        writing_of<T>(a.grad_x, a.reduced, a.grad_x_outer_stride, a.outer * a.reduced);
    float_pack centre[K];
    float_pack inv_std[K];
    float_pack offset[K];
    float_pack slope_g[K];
    float_pack slope_x[K];
    float_pack shift[K];
    for (int k = 0; k < K; ++k) {
      centre[k] = splat_float(plan[k].stats.centre);
      inv_std[k] = splat_float(plan[k].stats.inv_std);
      offset[k] = splat_float(plan[k].stats.offset);
      slope_g[k] = splat_float(plan[k].slopes.slope_g);
      slope_x[k] = splat_float(plan[k].slopes.slope_x);
      shift[k] = splat_float(plan[k].slopes.shift);
    }
    for_each_pack_after(how.head, columns.length,
                        [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_pack w = load_float(weights + i, extent);
      float_pack sum_weight{};
      float_pack sum_bias{};
      float_pack result[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const float_pack grad = load_float(elements.grad_output(k) + i, extent);
        const float_pack near = load_float(elements.x(k) + i, extent) - centre[k];
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
        store(elements.grad_x(k) + i, result[k], extent, how);
        ending.deliver(k, i, result[k], extent);
      }
      if constexpr (parameters) store(grad_weight + i, load(grad_weight + i) + widen(sum_weight));
      if constexpr (parameters) store(grad_bias + i, load(grad_bias + i) + widen(sum_bias));
    });
  }

  template <int K>
  void write_in_float(Columns columns, const RowPlan* plan, double* grad_weight,
                      double* grad_bias) const {
    grad_weight ? write_in_float<K, true>(columns, plan, grad_weight, grad_bias)
                : write_in_float<K, false>(columns, plan, nullptr, nullptr);
  }

  // Writes columns of K rows, each in the precision that suits it.
  template <int K>
  void write(Columns columns, const RowPlan* plan, double* grad_weight, double* grad_bias) const {
    if constexpr (suits_single<T>) {
      bool all_float = true;
      for (int k = 0; k < K; ++k) all_float = all_float && plan[k].slopes.usable;
      if (all_float) return write_in_float<K>(columns, plan, grad_weight, grad_bias);
    }
    for (int k = 0; k < K; ++k) {
      const RowWriter row{rows.at_row(rows.first + k), worker};
      if constexpr (suits_single<T>) {
        if (plan[k].slopes.usable) {
          row.template write_in_float<1>(columns, &plan[k], grad_weight, grad_bias);
          continue;
        }
      }
      row.template write_in_double<1>(columns, &plan[k], grad_weight, grad_bias);
    }
  }

  // All columns, in parts no longer than the epilogue and the weights can take.
  template <int K>
  void write_all(const RowPlan* plan, double* grad_weight, double* grad_bias) const {
    constexpr std::int64_t piece = RunParameter<T>::piece;
    const std::int64_t all = rows.a.reduced;
    std::int64_t most = Worker::most_columns;
    if (!rows.weight.is_given() && piece < most) most = piece;
    for (std::int64_t begin = 0; begin < all; begin += most) {
      const std::int64_t left = all - begin;
      write<K>({begin, left < most ? left : most}, plan,
               grad_weight ? grad_weight + begin : nullptr,
               grad_bias ? grad_bias + begin : nullptr);
    }
  }
};

}  // namespace normdrop::NORMDROP_ISA
