// Gradients of sets that are columns of rows of channels (channels-last, 2-D), or some neighbouring
// columns (a group of channels): reductions down the columns over fixed slots of rows, merged in
// order, then a pass over the rows. Narrow rows are seen several as one (narrow_rows.h): the sums of
// columns that are one column of x are then added up.
#pragma once

#include "cpu/engines/column_plans.h"
#include "cpu/engines/columns.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
class ColumnsBackward {
 public:
  explicit ColumnsBackward(const ColumnsGradient<T>& gradient)
      : in_(gradient),
        rows_(plan_summed_rows(gradient.rows, gradient.columns)),
        grad_output_(packed(gradient.grad_output, gradient.grad_output_stride)),
        x_(packed(gradient.x, gradient.x_stride)),
        grad_x_(gradient.grad_x, gradient.rows, gradient.columns,
                is_narrow_rows() && gradient.grad_x ? gradient.grad_x_stride : gradient.columns),
        plans_(gradient, rows_.columns),
        width_(plans_.width()),
        slots_(plan_slots(rows_.rows, rows_.columns)),
        partial_((slots_.count + 1) * 4 * width_) {
    fill_zero(sums(), 4 * width_);
  }

  // report(column, sums) takes the sums of grad_output and grad_output * x_hat.
  template <class Report>
  void run(Report report) {
    take_all_sums([&] {
      plans_.set_means(sums(), sums() + width_);
      plans_.set_slopes();
    });
    if (!plans_.all_in_float()) plans_.set_means(sums(), sums() + width_);
    for (std::int64_t c = 0; c < in_.columns; ++c) report(c, sums_of(c));
    write();
  }

  // Only the sums.
  template <class Report>
  void run_sums(Report report) {
    take_all_sums([&] { plans_.keep_finite(sums(), sums() + width_); });
    for (std::int64_t c = 0; c < in_.columns; ++c) report(c, sums_of(c));
  }

  // Only the output; sums_at(column) knows the sums.
  template <class SumsAt>
  void run_write(SumsAt sums_at) {
    choose_columns();
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      const RowSums known = sums_at(c);
      sums()[c] = known.g;
      sums()[width_ + c] = known.gx;
    }
    plans_.set_means(sums(), sums() + width_);
    if constexpr (suits_single<T>) plans_.set_slopes();
    write();
  }

 private:
  using Plans = ColumnPlans;

  bool is_narrow_rows() const { return rows_.together > 1; }
  PackedRows<T> packed(const T* data, std::int64_t stride) const {
    return {data, in_.rows, in_.columns, is_narrow_rows() ? stride : in_.columns};
  }
  // Of rows as they are seen.
  std::int64_t seen(std::int64_t stride) const { return is_narrow_rows() ? rows_.columns : stride; }
  const T* x(std::int64_t row) const { return x_.data() + row * seen(in_.x_stride); }
  const T* grad_output(std::int64_t row) const {
    return grad_output_.data() + row * seen(in_.grad_output_stride);
  }
  T* grad_x(std::int64_t row) const { return grad_x_.data() + row * seen(in_.grad_x_stride); }

  void choose_columns() {
    if constexpr (suits_single<T>) {
      Scratch<float> largest(width_);
      find_largest_gradients(largest.data());
      plans_.choose_columns(largest.data());
    }
  }

  // Of every column's first ones.
  NORMDROP_OUT_OF_LINE void find_largest_gradients(float* largest) const {
    const std::int64_t most = cpu::tuning::rows_looked_at;
    const std::int64_t looked_at = in_.rows < most ? in_.rows : most;
    for (std::int64_t j = 0; j < width_; ++j) largest[j] = 0.0f;
    std::int64_t row = 0;
    for (; row + 4 <= looked_at; row += 4) add_largest<4>(row, largest);
    for (; row < looked_at; ++row) add_largest<1>(row, largest);
  }
  template <int K>
  NORMDROP_LAMBDA_INLINE void add_largest(std::int64_t row, float* largest) const {
    const std::int64_t stride = is_narrow_rows() ? in_.columns : in_.grad_output_stride;
    const T* grads = grad_output_.data() + row * stride;
    for_each_pack(in_.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      float_pack found = load_float(largest + j);
      for (int k = 0; k < K; ++k) {
        found = larger(found, magnitudes(load_float(grads + k * stride + j, extent)));
      }
      store_float(largest + j, found);
    });
  }

  // Float sums of all columns where any suits them, kept for the columns that choose() leaves there,
  // and sums in double of all columns where any needs those: a column's bits do not depend on what
  // suits the other sets.
  template <class Choose>
  void take_all_sums(Choose&& choose) {
    choose_columns();
    if constexpr (suits_single<T>) {
      if (plans_.columns_in_float() > 0) {
        take_sums<true>(sums());
        choose();
      }
    }
    if (!plans_.all_in_float()) take_missing_sums();
  }

  void take_missing_sums() {
    const float* in_float = plans_.floats(Plans::in_float);
    take_sums<false>(sums() + 2 * width_);
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      if (in_float[c] != 0.0f) continue;
      sums()[c] = sums()[2 * width_ + c];
      sums()[width_ + c] = sums()[3 * width_ + c];
    }
  }

  template <bool in_single>
  NORMDROP_OUT_OF_LINE void take_sums(double* total) {
    sum_slots<in_single>();
    fill_zero(total, 2 * width_);
    merge_slots<T>(partial_.data(), slots_.count, 4 * width_, rows_.columns, total);
    merge_slots<T>(partial_.data() + width_, slots_.count, 4 * width_, rows_.columns,
                   total + width_);
    if (!is_narrow_rows()) return;
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      total[c] = sum_in_order(total + c, rows_.together, in_.columns);
      total[width_ + c] = sum_in_order(total + width_ + c, rows_.together, in_.columns);
    }
  }

  template <bool in_single>
  void sum_slots() {
    parallel_for(slots_.count, slots_.rows * rows_.columns, [&](std::int64_t slot) {
      double* sum_g = &partial_[slot * 4 * width_];
      fill_zero(sum_g, 4 * width_);
      const std::int64_t end = slots_.end(slot, rows_.rows);
      std::int64_t row = slots_.begin(slot);
      if constexpr (in_single) {
        const std::int64_t full_end = end < rows_.full_rows() ? end : rows_.full_rows();
        for (; row + 4 <= full_end; row += 4) add_rows_float<4>(row, sum_g, sum_g + width_);
        for (; row < end; ++row) add_rows_float<1>(row, sum_g, sum_g + width_);
      } else {
        for (; row < end; ++row) add_row(row, sum_g, sum_g + width_);
        fold_errors<T>(sum_g, 2 * width_, 2 * width_);
      }
    });
  }

  // Adds a row to the sums of every column.
  NORMDROP_OUT_OF_LINE void add_row(std::int64_t row, double* sum_g, double* sum_gx) const {
    const double* means = plans_.doubles(Plans::mean);
    const double* inv_stds = plans_.doubles(Plans::inv_std);
    const T* values = x(row);
    const T* grads = grad_output(row);
    const std::int64_t errors_at = 2 * width_;
    for_each_pack(rows_.columns_of(row), [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + j, extent);
      // Behind the end of a last, narrow row lie columns that have elements in other rows.
      const pack x_hat =
          keep(x_hat_of(load(values + j, extent), load(means + j), load(inv_stds + j)), extent);
      add_in_memory<T>(sum_g, errors_at, j, g);
      add_in_memory<T>(sum_gx, errors_at, j, g * x_hat);
    });
  }

  template <int K>
  NORMDROP_OUT_OF_LINE void add_rows_float(std::int64_t row, double* sum_g, double* sum_gx) const {
    const float* centres = plans_.floats(Plans::centre);
    const float* inv_stds = plans_.floats(Plans::float_inv_std);
    const float* offsets = plans_.floats(Plans::offset);
    const T* values[K];
    const T* grads[K];
    for (int k = 0; k < K; ++k) {
      values[k] = x(row + k);
      grads[k] = grad_output(row + k);
    }
    for_each_pack(rows_.columns_of(row + K - 1),
                  [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_pack m = load_float(centres + j);
      const float_pack s = load_float(inv_stds + j);
      const float_pack o = load_float(offsets + j);
      float_pack g_sum{};
      float_pack gx_sum{};
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        const float_pack g = load_float(grads[k] + j, extent);
        const float_pack x_hat = x_hat_of(load_float(values[k] + j, extent) - m, s, o);
        g_sum = g_sum + g;
        gx_sum = multiply_add(g, x_hat, gx_sum);
      }
      store(sum_g + j, load(sum_g + j) + widen(g_sum));
      store(sum_gx + j, load(sum_gx + j) + widen(gx_sum));
    });
  }

  // sums(): width_ of g and of g * x_hat as used, then the same from the passes in double.
  double* sums() const { return &partial_[slots_.count * 4 * width_]; }
  RowSums sums_of(std::int64_t c) const { return {sums()[c], sums()[width_ + c]}; }

  void write() const {
    if constexpr (suits_single<T>) {
      if (plans_.columns_in_float() > 0) return write_rows<true>();
    }
    write_rows<false>();
  }

  template <bool in_single>
  void write_rows() const {
    const Writing how = writing_of<T>(grad_x_.data(), rows_.columns, seen(in_.grad_x_stride),
                                      in_.rows * in_.columns);
    for_each_narrow_tile(rows_, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      if constexpr (in_single) {
        write_float(row, begin, count, how);
      } else {
        write_double(row, begin, count, grad_x(row) + begin);
      }
    });
    grad_x_.deliver();
  }

  // Columns [begin, begin + count) of a row to out[0 .. count).
  NORMDROP_OUT_OF_LINE void write_double(std::int64_t row, std::int64_t begin, std::int64_t count,
                                         T* out) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    const double* column = plans_.doubles(0) + begin;
    const std::int64_t width = width_;
    const bool has_means = !in_.mean_factors.are_zero();
    for_each_pack(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const double* at = column + j;
      pack g = load(grads + j, extent) * load(at + Plans::weight * width);
      if (has_means) {
        const pack x_hat =
            x_hat_of(load(values + j, extent), load(at), load(at + Plans::inv_std * width));
        g = centred_gradient(g, x_hat, load(at + Plans::mean_g * width),
                             load(at + Plans::mean_gx * width));
      }
      store(out + j, g * load(at + Plans::factor * width), extent);
    });
  }

  NORMDROP_OUT_OF_LINE void write_float(std::int64_t row, std::int64_t begin, std::int64_t count,
                                        Writing how) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    T* out = grad_x(row) + begin;
    const float* column = plans_.floats(0) + begin;
    const std::int64_t width = width_;
    const bool all = plans_.all_in_float();
    for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = column + j;
      const float_pack near = load_float(values + j, extent) - load_float(at);
      const float_pack result = gradient_on_line(
          load_float(grads + j, extent), near, load_float(at + Plans::slope_g * width),
          load_float(at + Plans::slope_x * width), load_float(at + Plans::shift * width));
      if (__builtin_expect(all, 1)) {
        return store(out + j, result, extent, how);
      }
      write_mixed(row, begin + j, extent.count, result, out + j);
    });
  }

  // A pack of columns of which some are done in double.
  NORMDROP_OUT_OF_LINE void write_mixed(std::int64_t row, std::int64_t begin, int count,
                                        float_pack single, T* out) const {
    T in_single[pack_size];
    T in_double[pack_size];
    store_float(in_single, single);
    write_double(row, begin, count, in_double);
    for (int i = 0; i < count; ++i) {
      out[i] = plans_.floats(Plans::in_float)[begin + i] != 0.0f ? in_single[i] : in_double[i];
    }
  }

  const ColumnsGradient<T> in_;
  const NarrowRows rows_;
  const PackedRows<T> grad_output_;
  const PackedRows<T> x_;
  const UnpackedRows<T> grad_x_;
  Plans plans_;
  std::int64_t width_;
  Slots slots_;
  Scratch<double> partial_;
};

}  // namespace normdrop::NORMDROP_ISA
