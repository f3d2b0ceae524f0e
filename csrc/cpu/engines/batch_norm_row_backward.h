// Backward of batch norm with inner == 1 (NHWC, 2-D): reductions down the columns of rows of
// channels, over fixed slots of rows, merged in order.
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/engines/batch_norm.h"
#include "cpu/engines/columns.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

// Per-channel values are kept as rows of one array.
template <class T>
class RowBackward {
 public:
  explicit RowBackward(const BatchNormBackward& a)
      : a_(a),
        width_(padded(a.channels)),
        slots_(plan_slots(a.batch, a.channels)),
        values_(value_rows * width_),
        partial_((slots_.count + 1) * 4 * width_) {}

  void run() {
    choose_channels();
    if constexpr (suits_single<T>) {
      if (channels_in_float_ > 0) {
        sum_slots<true>();
        merge_sums(sums());
        choose_slopes();
      }
    }
    if (channels_in_float_ < a_.channels) {
      sum_slots<false>();
      merge_sums(sums() + 2 * width_);
      take_double_sums();
    }
    plan_channels();
    if constexpr (suits_single<T>) {
      if (channels_in_float_ > 0) return write_rows<true>();
    }
    write_rows<false>();
  }

 private:
  const T* x(std::int64_t row) const {
    return static_cast<const T*>(a_.x) + row * a_.x_batch_stride;
  }
  const T* grad_output(std::int64_t row) const {
    return static_cast<const T*>(a_.grad_output) + row * a_.grad_output_batch_stride;
  }
  double* doubles(int which) const { return values_.data() + which * width_; }
  float* floats(int which) const {
    return reinterpret_cast<float*>(values_.data() + 5 * width_) + which * width_;
  }

  // Rows of values_: 5 of doubles, 7 of floats (half as wide).
  static constexpr std::int64_t value_rows = 5 + 4;
  enum Doubles { mean, inv_std, mean_g, mean_gx, factor };
  enum Floats { centre, float_inv_std, offset, slope_g, slope_x, shift, in_float };

  // Which channels may take the passes in single precision; see float_backward.h.
  void choose_channels() {
    fill_zero(values_.data(), value_rows * width_);
    const std::int64_t looked_at = a_.batch < 64 ? a_.batch : 64;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      doubles(mean)[c] = a_.mean[c];
      doubles(inv_std)[c] = a_.inv_std[c];
    }
    if constexpr (suits_single<T>) {
      float* largest = floats(in_float);
      for (std::int64_t row = 0; row < looked_at; ++row) {
        const T* grads = grad_output(row);
        for (std::int64_t c = 0; c < a_.channels; ++c) {
          const auto grad = static_cast<float>(value_of(grads[c]));
          const float magnitude = grad < 0.0f ? -grad : grad;
          largest[c] = magnitude > largest[c] ? magnitude : largest[c];
        }
      }
      for (std::int64_t c = 0; c < a_.channels; ++c) {
        FloatStats stats = float_stats(a_.mean[c], a_.inv_std[c]);
        stats.usable = stats.usable && within(largest[c], 0x1p-60, 0x1p+40);
        floats(centre)[c] = stats.centre;
        floats(float_inv_std)[c] = stats.inv_std;
        floats(offset)[c] = stats.offset;
        largest[c] = stats.usable ? 1.0f : 0.0f;
        channels_in_float_ += stats.usable ? 1 : 0;
      }
    }
  }

  template <bool in_single>
  void sum_slots() {
    parallel_for(slots_.count, slots_.rows * a_.channels, [&](std::int64_t slot) {
      double* sum_g = &partial_[slot * 4 * width_];
      fill_zero(sum_g, 4 * width_);
      const std::int64_t end = slots_.end(slot, a_.batch);
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

  // Adds a row to the sums of every channel.
  void add_row(std::int64_t row, double* sum_g, double* sum_gx) const {
    const double* means = doubles(mean);
    const double* inv_stds = doubles(inv_std);
    const T* values = x(row);
    const T* grads = grad_output(row);
    const std::int64_t errors_at = 2 * width_;
    for_each_pack(a_.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack g = load(grads + j, extent);
      const pack xh = (load(values + j, extent) - load(means + j)) * load(inv_stds + j);
      add_in_memory<T>(sum_g, errors_at, j, g);
      add_in_memory<T>(sum_gx, errors_at, j, g * xh);
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
    for_each_pack(a_.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_pack m = load_float(centres + j);
      const float_pack s = load_float(inv_stds + j);
      const float_pack o = load_float(offsets + j);
      float_pack g_sum{};
      float_pack gx_sum{};
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        const float_pack g = load_float(grads[k] + j, extent);
        const float_pack xh = multiply_add(load_float(values[k] + j, extent) - m, s, o);
        g_sum = g_sum + g;
        gx_sum = multiply_add(g, xh, gx_sum);
      }
      store(sum_g + j, load(sum_g + j) + widen(g_sum));
      store(sum_gx + j, load(sum_gx + j) + widen(gx_sum));
    });
  }

  // sums(): width_ of g and of g * x^ as used, then the same from the passes in double.
  double* sums() const { return &partial_[slots_.count * 4 * width_]; }

  void merge_sums(double* sum_g) {
    fill_zero(sum_g, 2 * width_);
    merge_slots<T>(partial_.data(), slots_.count, 4 * width_, a_.channels, sum_g);
    merge_slots<T>(partial_.data() + width_, slots_.count, 4 * width_, a_.channels, sum_g + width_);
  }

  double reciprocal() const { return a_.frozen ? 0.0 : 1.0 / static_cast<double>(a_.batch); }
  double channel_factor(std::int64_t c) const {
    return a_.inv_std[c] * parameter<T>(a_.weight, c, 1.0);
  }

  // The coefficients of the channels that stay in single precision, from their float sums.
  void choose_slopes() {
    channels_in_float_ = 0;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      const FloatStats stats{floats(centre)[c], floats(float_inv_std)[c], floats(offset)[c],
                             floats(in_float)[c] != 0.0f};
      const FloatSlopes slopes =
          float_slopes(stats, a_.inv_std[c], channel_factor(c), sums()[c] * reciprocal(),
                       sums()[width_ + c] * reciprocal());
      floats(slope_g)[c] = slopes.slope_g;
      floats(slope_x)[c] = slopes.slope_x;
      floats(shift)[c] = slopes.shift;
      floats(in_float)[c] = slopes.usable ? 1.0f : 0.0f;
      channels_in_float_ += slopes.usable ? 1 : 0;
    }
  }

  // A channel's bits do not depend on what suits the other channels: both passes ran over all.
  void take_double_sums() {
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      if (floats(in_float)[c] != 0.0f) continue;
      sums()[c] = sums()[2 * width_ + c];
      sums()[width_ + c] = sums()[3 * width_ + c];
    }
  }

  void plan_channels() {
    const double* sum_g = sums();
    const double* sum_gx = sum_g + width_;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      if (a_.grad_weight)
        static_cast<wide<T>*>(a_.grad_weight)[c] = static_cast<wide<T>>(sum_gx[c]);
      if (a_.grad_bias) static_cast<wide<T>*>(a_.grad_bias)[c] = static_cast<wide<T>>(sum_g[c]);
      doubles(mean_g)[c] = sum_g[c] * reciprocal();
      doubles(mean_gx)[c] = sum_gx[c] * reciprocal();
      doubles(factor)[c] = channel_factor(c);
    }
  }

  template <bool in_single>
  void write_rows() const {
    const Writing how =
        writing_of<T>(a_.grad_x, a_.channels, a_.grad_x_batch_stride, a_.batch * a_.channels);
    for_each_row_tile(a_.batch, a_.channels,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      if constexpr (in_single) {
        write_float(row, begin, count, how);
      } else {
        write_double(row, begin, count,
                     static_cast<T*>(a_.grad_x) + row * a_.grad_x_batch_stride + begin);
      }
    });
  }

  // Channels [begin, begin + count) of a row to out[0 .. count).
  void write_double(std::int64_t row, std::int64_t begin, std::int64_t count, T* out) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    const double* channel = doubles(0) + begin;
    const std::int64_t width = width_;
    const bool frozen = a_.frozen;
    for_each_pack(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      pack g = load(grads + j, extent);
      const double* at = channel + j;
      if (!frozen) {
        const pack xh = (load(values + j, extent) - load(at)) * load(at + width);
        g = (g - load(at + 2 * width)) - xh * load(at + 3 * width);
      }
      store(out + j, g * load(at + 4 * width), extent);
    });
  }

  void write_float(std::int64_t row, std::int64_t begin, std::int64_t count, Writing how) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    T* out = static_cast<T*>(a_.grad_x) + row * a_.grad_x_batch_stride + begin;
    const float* channel = floats(0) + begin;
    const std::int64_t width = width_;
    const bool all = channels_in_float_ == a_.channels;
    for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = channel + j;
      const float_pack near = load_float(values + j, extent) - load_float(at);
      const float_pack rest =
          multiply_add(near, load_float(at + slope_x * width), load_float(at + shift * width));
      const float_pack result =
          multiply_add(load_float(grads + j, extent), load_float(at + slope_g * width), rest);
      if (__builtin_expect(all, 1)) {
        return store(out + j, result, extent, how);
      }
      write_mixed(row, begin + j, extent.count, result, out + j);
    });
  }

  // A pack of channels of which some are done in double.
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

  const BatchNormBackward& a_;
  std::int64_t width_;
  Slots slots_;
  Scratch<double> values_;
  Scratch<double> partial_;
  std::int64_t channels_in_float_ = 0;
};

}  // namespace normdrop::NORMDROP_ISA
