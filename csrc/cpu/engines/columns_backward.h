// Gradients of sets that are columns of rows of channels (channels-last, 2-D), or some neighbouring
// columns (a group of channels): reductions down the columns over fixed slots of rows, merged in
// order, then a pass over the rows.
//   grad_x = (weight * grad_output - mean_g - x_hat * mean_gx) * factor
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/arithmetic/gradients.h"
#include "cpu/engines/columns.h"

namespace normdrop::NORMDROP_ISA {

// Statistics are those of the sets, one for every `columns_per_set` columns. The means are taken of
// grad_output, whose weight is then a factor, or (`weight_first`) of weight * grad_output.
template <class T>
struct ColumnsGradient {
  const T* grad_output;
  const T* x;
  T* grad_x;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t grad_output_stride;
  std::int64_t x_stride;
  std::int64_t grad_x_stride;
  const double* mean;
  const double* inv_std;
  const wide<T>* weight;  // (columns,) or null
  std::int64_t columns_per_set;
  bool weight_first;
  MeanFactors mean_factors;

  double weight_of(std::int64_t c) const { return parameter<T>(weight, c, 1.0); }
};

// Per-column values are kept as rows of one array.
template <class T>
class ColumnsBackward {
 public:
  explicit ColumnsBackward(const ColumnsGradient<T>& gradient)
      : in_(gradient),
        width_(padded(gradient.columns)),
        slots_(plan_slots(gradient.rows, gradient.columns)),
        values_(value_rows * width_),
        partial_((slots_.count + 1) * 4 * width_) {}

  // report(column, sums) takes the sums of grad_output and grad_output * x_hat.
  template <class Report>
  void run(Report report) {
    choose_columns();
    take_sums([&](std::int64_t set) { return set_is_in_single(set); });
    for (std::int64_t c = 0; c < in_.columns; ++c) report(c, sums_of(c));
    plan_columns();
    write();
  }

  // Only the sums.
  template <class Report>
  void run_sums(Report report) {
    choose_columns();
    take_sums([&](std::int64_t set) {
      const RowSums sums = sums_of(set);
      return is_finite(sums.g) && is_finite(sums.gx);
    });
    for (std::int64_t c = 0; c < in_.columns; ++c) report(c, sums_of(c));
  }

  // Only the output; sums_at(column) knows the sums.
  template <class SumsAt>
  void run_write(SumsAt sums_at) {
    choose_columns();
    fill_zero(sums(), 4 * width_);
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      const RowSums known = sums_at(c);
      sums()[c] = known.g;
      sums()[width_ + c] = known.gx;
    }
    if constexpr (suits_single<T>) {
      choose_sets([&](std::int64_t set) { return set_is_in_single(set); });
    }
    plan_columns();
    write();
  }

 private:
  const T* x(std::int64_t row) const { return in_.x + row * in_.x_stride; }
  const T* grad_output(std::int64_t row) const {
    return in_.grad_output + row * in_.grad_output_stride;
  }
  double* doubles(int which) const { return values_.data() + which * width_; }
  float* floats(int which) const {
    return reinterpret_cast<float*>(values_.data() + double_rows * width_) + which * width_;
  }

  // Rows of values_: 6 of doubles, 7 of floats (half as wide).
  static constexpr std::int64_t double_rows = 6;
  static constexpr std::int64_t value_rows = double_rows + 4;
  enum Doubles { mean, inv_std, mean_g, mean_gx, factor, weight };
  enum Floats { centre, float_inv_std, offset, slope_g, slope_x, shift, in_float };

  // Which columns may take the passes in single precision; see float_backward.h.
  void choose_columns() {
    fill_zero(values_.data(), value_rows * width_);
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      const std::int64_t set = c / in_.columns_per_set;
      doubles(mean)[c] = in_.mean[set];
      doubles(inv_std)[c] = in_.inv_std[set];
    }
    if constexpr (suits_single<T>) {
      find_largest_gradients(floats(in_float));
      for (std::int64_t c = 0; c < in_.columns; ++c) {
        FloatStats stats = float_stats(doubles(mean)[c], doubles(inv_std)[c]);
        stats.usable = stats.usable && within(floats(in_float)[c], 0x1p-60, 0x1p+40);
        floats(centre)[c] = stats.centre;
        floats(float_inv_std)[c] = stats.inv_std;
        floats(offset)[c] = stats.offset;
        floats(in_float)[c] = stats.usable ? 1.0f : 0.0f;
        columns_in_float_ += stats.usable ? 1 : 0;
      }
    }
  }

  // Of every column's first ones.
  void find_largest_gradients(float* largest) const {
    const std::int64_t most = cpu::tuning::rows_looked_at;
    const std::int64_t looked_at = in_.rows < most ? in_.rows : most;
    for (std::int64_t row = 0; row < looked_at; ++row) {
      const T* grads = grad_output(row);
      for (std::int64_t c = 0; c < in_.columns; ++c) {
        const auto grad = static_cast<float>(value_of(grads[c]));
        const float magnitude = grad < 0.0f ? -grad : grad;
        largest[c] = magnitude > largest[c] ? magnitude : largest[c];
      }
    }
  }

  // Float sums of all columns where any suits them, kept for the sets that `keeps` names, and sums
  // in double of all columns where any needs those: a column's bits do not depend on what suits the
  // other sets.
  template <class Keeps>
  void take_sums(Keeps&& keeps) {
    if constexpr (suits_single<T>) {
      if (columns_in_float_ > 0) {
        sum_slots<true>();
        merge_sums(sums());
        choose_sets(keeps);
      }
    }
    if (columns_in_float_ == in_.columns) return;
    sum_slots<false>();
    merge_sums(sums() + 2 * width_);
    for (std::int64_t c = 0; c < in_.columns; ++c) {
      if (floats(in_float)[c] != 0.0f) continue;
      sums()[c] = sums()[2 * width_ + c];
      sums()[width_ + c] = sums()[3 * width_ + c];
    }
  }

  template <class Keeps>
  void choose_sets(Keeps&& keeps) {
    columns_in_float_ = 0;
    const std::int64_t size = in_.columns_per_set;
    for (std::int64_t set = 0; set < in_.columns / size; ++set) {
      bool keep_floats = keeps(set);
      for (std::int64_t c = set * size; c < (set + 1) * size; ++c) {
        keep_floats = keep_floats && floats(in_float)[c] != 0.0f;
      }
      for (std::int64_t c = set * size; c < (set + 1) * size; ++c) {
        floats(in_float)[c] = keep_floats ? 1.0f : 0.0f;
      }
      columns_in_float_ += keep_floats ? size : 0;
    }
  }

  template <bool in_single>
  void sum_slots() {
    parallel_for(slots_.count, slots_.rows * in_.columns, [&](std::int64_t slot) {
      double* sum_g = &partial_[slot * 4 * width_];
      fill_zero(sum_g, 4 * width_);
      const std::int64_t end = slots_.end(slot, in_.rows);
      std::int64_t row = slots_.begin(slot);
      if constexpr (in_single) {
        for (; row + 4 <= end; row += 4) add_rows_float<4>(row, sum_g, sum_g + width_);
        for (; row < end; ++row) add_rows_float<1>(row, sum_g, sum_g + width_);
      } else {
        for (; row < end; ++row) add_row(row, sum_g, sum_g + width_);
        fold_errors<T>(sum_g, 2 * width_, 2 * width_);
      }
    });
  }

  // Adds a row to the sums of every column.
  void add_row(std::int64_t row, double* sum_g, double* sum_gx) const {
    const double* means = doubles(mean);
    const double* inv_stds = doubles(inv_std);
    const T* values = x(row);
    const T* grads = grad_output(row);
    const std::int64_t errors_at = 2 * width_;
    for_each_pack(in_.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + j, extent);
      const pack x_hat = x_hat_of(load(values + j, extent), load(means + j), load(inv_stds + j));
      add_in_memory<T>(sum_g, errors_at, j, g);
      add_in_memory<T>(sum_gx, errors_at, j, g * x_hat);
    });
  }

  template <int K>
  void add_rows_float(std::int64_t row, double* sum_g, double* sum_gx) const {
    const float* centres = floats(centre);
    const float* inv_stds = floats(float_inv_std);
    const float* offsets = floats(offset);
    const T* values[K];
    const T* grads[K];
    for (int k = 0; k < K; ++k) {
      values[k] = x(row + k);
      grads[k] = grad_output(row + k);
    }
    for_each_pack(in_.columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
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

  void merge_sums(double* sum_g) {
    fill_zero(sum_g, 2 * width_);
    merge_slots<T>(partial_.data(), slots_.count, 4 * width_, in_.columns, sum_g);
    merge_slots<T>(partial_.data() + width_, slots_.count, 4 * width_, in_.columns, sum_g + width_);
  }

  // The means that a set's gradient subtracts, with the rounding errors of their sums.
  RowSums means_of(std::int64_t set) const {
    const std::int64_t size = in_.columns_per_set;
    const MeanFactors factors = in_.mean_factors;
    double_double g{0.0, 0.0};
    double_double gx{0.0, 0.0};
    if (!in_.weight_first) {
      return {factors.mean_g(sums()[set]), factors.mean_gx(sums()[width_ + set])};
    }
    for (std::int64_t c = set * size; c < (set + 1) * size; ++c) {
      g = add(g, multiply({sums()[c], 0.0}, in_.weight_of(c)));
      gx = add(gx, multiply({sums()[width_ + c], 0.0}, in_.weight_of(c)));
    }
    return {factors.mean_g(g.high), factors.mean_gx(gx.high)};
  }

  double factor_of(std::int64_t c) const {
    return in_.weight_first ? doubles(inv_std)[c] : doubles(inv_std)[c] * in_.weight_of(c);
  }
  double weight_before(std::int64_t c) const { return in_.weight_first ? in_.weight_of(c) : 1.0; }

  // The coefficients of a set in single precision, and whether they do.
  bool set_is_in_single(std::int64_t set) const {
    const RowSums means = means_of(set);
    const std::int64_t size = in_.columns_per_set;
    bool usable = true;
    for (std::int64_t c = set * size; c < (set + 1) * size; ++c) {
      const FloatStats stats{floats(centre)[c], floats(float_inv_std)[c], floats(offset)[c],
                             floats(in_float)[c] != 0.0f};
      const FloatSlopes slopes = float_slopes(stats, doubles(inv_std)[c], factor_of(c), means.g,
                                              means.gx, weight_before(c));
      floats(slope_g)[c] = slopes.slope_g;
      floats(slope_x)[c] = slopes.slope_x;
      floats(shift)[c] = slopes.shift;
      usable = usable && slopes.usable;
    }
    return usable;
  }

  void plan_columns() {
    const std::int64_t size = in_.columns_per_set;
    for (std::int64_t set = 0; set < in_.columns / size; ++set) {
      const RowSums means = means_of(set);
      for (std::int64_t c = set * size; c < (set + 1) * size; ++c) {
        doubles(mean_g)[c] = means.g;
        doubles(mean_gx)[c] = means.gx;
        doubles(factor)[c] = factor_of(c);
        doubles(weight)[c] = weight_before(c);
      }
    }
  }

  void write() const {
    if constexpr (suits_single<T>) {
      if (columns_in_float_ > 0) return write_rows<true>();
    }
    write_rows<false>();
  }

  template <bool in_single>
  void write_rows() const {
    const Writing how =
        writing_of<T>(in_.grad_x, in_.columns, in_.grad_x_stride, in_.rows * in_.columns);
    for_each_row_tile(in_.rows, in_.columns,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      if constexpr (in_single) {
        write_float(row, begin, count, how);
      } else {
        write_double(row, begin, count, in_.grad_x + row * in_.grad_x_stride + begin);
      }
    });
  }

  // Columns [begin, begin + count) of a row to out[0 .. count).
  void write_double(std::int64_t row, std::int64_t begin, std::int64_t count, T* out) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    const double* column = doubles(0) + begin;
    const std::int64_t width = width_;
    const bool has_means = !in_.mean_factors.are_zero();
    for_each_pack(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const double* at = column + j;
      pack g = load(grads + j, extent) * load(at + weight * width);
      if (has_means) {
        const pack x_hat = x_hat_of(load(values + j, extent), load(at), load(at + inv_std * width));
        g = centred_gradient(g, x_hat, load(at + mean_g * width), load(at + mean_gx * width));
      }
      store(out + j, g * load(at + factor * width), extent);
    });
  }

  void write_float(std::int64_t row, std::int64_t begin, std::int64_t count, Writing how) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    T* out = in_.grad_x + row * in_.grad_x_stride + begin;
    const float* column = floats(0) + begin;
    const std::int64_t width = width_;
    const bool all = columns_in_float_ == in_.columns;
    for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = column + j;
      const float_pack near = load_float(values + j, extent) - load_float(at);
      const float_pack result =
          gradient_on_line(load_float(grads + j, extent), near, load_float(at + slope_g * width),
                           load_float(at + slope_x * width), load_float(at + shift * width));
      if (__builtin_expect(all, 1)) {
        return store(out + j, result, extent, how);
      }
      write_mixed(row, begin + j, extent.count, result, out + j);
    });
  }

  // A pack of columns of which some are done in double.
  __attribute__((noinline)) void write_mixed(std::int64_t row, std::int64_t begin, int count,
                                             float_pack single, T* out) const {
    T in_single[pack_size];
    T in_double[pack_size];
    store_float(in_single, single);
    write_double(row, begin, count, in_double);
    for (int i = 0; i < count; ++i) {
      out[i] = floats(in_float)[begin + i] != 0.0f ? in_single[i] : in_double[i];
    }
  }

  const ColumnsGradient<T> in_;
  std::int64_t width_;
  Slots slots_;
  Scratch<double> values_;
  Scratch<double> partial_;
  std::int64_t columns_in_float_ = 0;
};

}  // namespace normdrop::NORMDROP_ISA
