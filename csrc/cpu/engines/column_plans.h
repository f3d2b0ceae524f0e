// How the gradients of sets that are columns are computed, column by column, as arrays: loops over
// them are vectors (omp simd), since a call on (64, 1024) has as many columns as rows of packs.
//   grad_x = (weight * grad_output - mean_g - x_hat * mean_gx) * factor
// In single precision where that suits a whole set; see float_backward.h.
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/engines/parameters.h"

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
};

// Sums and means are of grad_output and grad_output * x_hat. Where rows are seen several as one (narrow_rows.h), what is known of the columns is repeated for the
// columns that they are seen as.
class ColumnPlans {
 public:
  template <class T>
  ColumnPlans(const ColumnsGradient<T>& gradient, std::int64_t seen_columns)
      : columns_(gradient.columns),
        seen_(seen_columns),
        per_set_(gradient.columns_per_set),
        weight_first_(gradient.weight_first),
        factors_(gradient.mean_factors),
        width_(padded(seen_columns)),
        values_((double_rows + float_rows / 2) * width_) {
    fill_zero(values_.data(), (double_rows + float_rows / 2) * width_);
    for_each_set([&](std::int64_t set, std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        doubles(mean)[c] = gradient.mean[set];
        doubles(inv_std)[c] = gradient.inv_std[set];
      }
    });
    set_weights(gradient.weight);
    repeat_doubles(mean, inv_std);
    repeat_doubles(factor, weight);
  }

  enum Doubles { mean, inv_std, mean_g, mean_gx, factor, weight, double_rows };
  enum Floats { centre, float_inv_std, offset, slope_g, slope_x, shift, in_float, float_rows_used };

  // Rows of padded(seen columns).
  std::int64_t width() const { return width_; }
  double* doubles(int which) const { return values_.data() + which * width_; }
  float* floats(int which) const {
    return reinterpret_cast<float*>(values_.data() + double_rows * width_) + which * width_;
  }

  std::int64_t columns_in_float() const { return columns_in_float_; }
  bool all_in_float() const { return columns_in_float_ == columns_; }

  // Which columns may take the passes in single precision, by their statistics and their largest
  // gradient.
  void choose_columns(const float* largest) {
    const double* means = doubles(mean);
    const double* inv_stds = doubles(inv_std);
    float* centres = floats(centre);
    float* float_inv_stds = floats(float_inv_std);
    float* offsets = floats(offset);
    float* chosen = floats(in_float);
    std::int64_t count = 0;
#pragma omp simd reduction(+ : count)
    for (std::int64_t c = 0; c < columns_; ++c) {
      const FloatStats stats = float_stats(means[c], inv_stds[c]);
      const bool usable = stats.usable & (largest[c] >= 0x1p-60f) & (largest[c] <= 0x1p+40f);
      centres[c] = stats.centre;
      float_inv_stds[c] = stats.inv_std;
      offsets[c] = stats.offset;
      chosen[c] = usable ? 1.0f : 0.0f;
      count += usable ? 1 : 0;
    }
    columns_in_float_ = count;
    repeat_floats(centre, offset);
    repeat_floats(in_float, in_float);
  }

  // The means that the gradients subtract, from the sums: those of a set with the rounding errors of
  // its columns' sums.
  void set_means(const double* sum_g, const double* sum_gx) {
    const MeanFactors factors = factors_;
    double* means_g = doubles(mean_g);
    double* means_gx = doubles(mean_gx);
    if (!weight_first_) {
#pragma omp simd
      for (std::int64_t c = 0; c < columns_; ++c) {
        means_g[c] = factors.mean_g(sum_g[c]);
        means_gx[c] = factors.mean_gx(sum_gx[c]);
      }
      return repeat_doubles(mean_g, mean_gx);
    }
    const double* weights = doubles(weight);
    for_each_set([&](std::int64_t, std::int64_t begin, std::int64_t end) {
      double_double g{0.0, 0.0};
      double_double gx{0.0, 0.0};
      for (std::int64_t c = begin; c < end; ++c) {
        g = add(g, multiply({sum_g[c], 0.0}, weights[c]));
        gx = add(gx, multiply({sum_gx[c], 0.0}, weights[c]));
      }
      for (std::int64_t c = begin; c < end; ++c) {
        means_g[c] = factors.mean_g(g.high);
        means_gx[c] = factors.mean_gx(gx.high);
      }
    });
    repeat_doubles(mean_g, mean_gx);
  }

  // The coefficients in single precision. Columns of sets that they do not suit leave it.
  void set_slopes() {
    const double* inv_stds = doubles(inv_std);
    const double* factors = doubles(factor);
    const double* weights = doubles(weight);
    const double* means_g = doubles(mean_g);
    const double* means_gx = doubles(mean_gx);
    const float* offsets = floats(offset);
    float* slopes_g = floats(slope_g);
    float* slopes_x = floats(slope_x);
    float* shifts = floats(shift);
    float* chosen = floats(in_float);
#pragma omp simd
    for (std::int64_t c = 0; c < columns_; ++c) {
      const FloatStats stats{0.0f, 0.0f, offsets[c], chosen[c] != 0.0f};
      const FloatSlopes slopes =
          float_slopes(stats, inv_stds[c], factors[c], means_g[c], means_gx[c], weights[c]);
      slopes_g[c] = slopes.slope_g;
      slopes_x[c] = slopes.slope_x;
      shifts[c] = slopes.shift;
      chosen[c] = slopes.usable ? 1.0f : 0.0f;
    }
    repeat_floats(slope_g, shift);
    keep_whole_sets();
  }

  // Columns whose sums are not finite, and those beside them in a set, leave single precision.
  void keep_finite(const double* sum_g, const double* sum_gx) {
    float* chosen = floats(in_float);
    for (std::int64_t c = 0; c < columns_; ++c) {
      if (!is_finite(sum_g[c]) || !is_finite(sum_gx[c])) chosen[c] = 0.0f;
    }
    keep_whole_sets();
  }

 private:
  static constexpr int float_rows = 8;  // a whole number of doubles
  static_assert(float_rows_used <= float_rows);

  template <class Body>
  NORMDROP_LAMBDA_INLINE void for_each_set(Body&& body) const {
    for (std::int64_t set = 0; set * per_set_ < columns_; ++set) {
      body(set, set * per_set_, (set + 1) * per_set_);
    }
  }

  template <class W>
  void set_weights(const W* weight_of_columns) {
    const double* inv_stds = doubles(inv_std);
    double* factors = doubles(factor);
    double* weights = doubles(weight);
    double* given = weight_first_ ? weights : factors;
    for (std::int64_t c = 0; c < columns_; ++c) weights[c] = factors[c] = 1.0;
    if (weight_of_columns != nullptr) {
#pragma omp simd
      for (std::int64_t c = 0; c < columns_; ++c) {
        given[c] = static_cast<double>(weight_of_columns[c]);
      }
    }
#pragma omp simd
    for (std::int64_t c = 0; c < columns_; ++c) factors[c] = inv_stds[c] * factors[c];
  }

  void keep_whole_sets() {
    float* chosen = floats(in_float);
    if (per_set_ > 1) {
      for_each_set([&](std::int64_t, std::int64_t begin, std::int64_t end) {
        bool all = true;
        for (std::int64_t c = begin; c < end; ++c) all = all && chosen[c] != 0.0f;
        for (std::int64_t c = begin; c < end; ++c) chosen[c] = all ? 1.0f : 0.0f;
      });
    }
    std::int64_t count = 0;
#pragma omp simd reduction(+ : count)
    for (std::int64_t c = 0; c < columns_; ++c) count += chosen[c] != 0.0f ? 1 : 0;
    columns_in_float_ = count;
    repeat_floats(in_float, in_float);
  }

  // Rows `first` to `last`.
  void repeat_doubles(int first, int last) const {
    for (int which = first; which <= last; ++which) repeat(doubles(which));
  }
  void repeat_floats(int first, int last) const {
    for (int which = first; which <= last; ++which) repeat(floats(which));
  }
  template <class Value>
  void repeat(Value* values) const {
    for (std::int64_t j = columns_; j < seen_; ++j) values[j] = values[j - columns_];
  }

  std::int64_t columns_;
  std::int64_t seen_;
  std::int64_t per_set_;
  bool weight_first_;
  MeanFactors factors_;
  std::int64_t width_;
  Scratch<double> values_;
  std::int64_t columns_in_float_ = 0;
};

}  // namespace normdrop::NORMDROP_ISA
