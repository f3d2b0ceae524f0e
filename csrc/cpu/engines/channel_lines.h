// The passes that write batch norm's output, where one weight and one bias serve a whole channel:
//   y = (x - mean) * slope + shift,  slope = inv_std * weight,  shift = bias
// float32 in single precision where the numbers allow it: y = fma(x - centre, slope, shift), where
// centre = float(mean), and what centre and slope lack of their exact values is added to the shift.
// Off by the rounding of x - centre, of the shift and of y: below 2 units. Else, and in float64, in
// double. The choice depends on the channel alone.
#pragma once

#include "cpu/arithmetic/normalise.h"

namespace normdrop::NORMDROP_ISA {

struct DoubleLine {
  double minus_mean;
  double slope;
  double shift;
};

NORMDROP_INLINE DoubleLine double_line(const Normaliser& n, double weight, double bias) {
  const double slope = n.inv_std.high * weight;
  return {-n.mean.high, slope, bias - n.mean.low * slope};
}

struct SingleLine {
  float minus_centre;
  float slope_high;
  float slope_low;
  float shift_high;
  float shift_low;
  bool usable;
};

// The float next to `value` towards 0.
NORMDROP_INLINE float towards_zero(float value) {
  return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, value) - 1u);
}

// Both parts of a slope are on its side of 0, and neither is 0 beside the other: an infinite x then
// goes to the infinity that the whole slope takes it to. Without branches, for loops over channels.
NORMDROP_INLINE SingleLine single_line(double mean_high, double mean_low, double inv_std,
                                       double weight, double bias) {
  const SingleNormaliser single = single_normaliser(double_double{mean_high, mean_low}, inv_std);
  const double slope = inv_std * weight;
  const double rest = (mean_high - static_cast<double>(single.centre)) + mean_low;
  const double shift = bias - rest * slope;
  const auto nearest = static_cast<float>(slope);
  const double lacking = slope - static_cast<double>(nearest);
  const bool is_below = lacking * slope > 0.0;
  const float slope_high = is_below | (slope == 0.0) ? nearest : towards_zero(nearest);
  const auto shift_high = static_cast<float>(shift);
  const bool usable = single.usable & ((slope == 0.0) | within(slope, 0x1p-60, 0x1p+20)) &
                      within(shift, 0.0, 0x1p+100);
  return {-single.centre,
          slope_high,
          static_cast<float>(slope - static_cast<double>(slope_high)),
          shift_high,
          static_cast<float>(shift - static_cast<double>(shift_high)),
          usable};
}

NORMDROP_INLINE SingleLine single_line(const Normaliser& n, double weight, double bias) {
  return single_line(n.mean.high, n.mean.low, n.inv_std.high, weight, bias);
}

struct SingleLinePacks {
  float_pack minus_centre;
  float_pack slope_high;
  float_pack slope_low;
  float_pack shift_high;
  float_pack shift_low;
};

NORMDROP_INLINE SingleLinePacks packs_of(const SingleLine& line) {
  return {splat_float(line.minus_centre), splat_float(line.slope_high), splat_float(line.slope_low),
          splat_float(line.shift_high), splat_float(line.shift_low)};
}

// Where shift_low is 0, as of statistics and a bias that are floats, an operation is saved; not in
// training, whose means are hardly ever floats. Columns of both kinds are told apart lane by lane: a
// channel's bits do not depend on its neighbours.
enum class Shift { whole, split, mixed };

template <Shift kind>
NORMDROP_INLINE float_pack on_line(float_pack x, const SingleLinePacks& line) {
  const float_pack near = x + line.minus_centre;
  float_pack shift{};
  if constexpr (kind != Shift::split) shift = multiply_add(near, line.slope_low, line.shift_high);
  if constexpr (kind != Shift::whole) {
    const float_pack rest = multiply_add(near, line.slope_low, line.shift_low);
    const float_pack split_shift = line.shift_high + rest;
    if constexpr (kind == Shift::split) {
      shift = split_shift;
    } else {
      NORMDROP_EACH_FLOAT_PART {
        shift.part[p] = line.shift_low.part[p] == f32{} ? shift.part[p] : split_shift.part[p];
      }
    }
  }
  return multiply_add(near, line.slope_high, shift);
}

NORMDROP_INLINE pack on_line(pack x, pack minus_mean, pack slope, pack shift) {
  return multiply_add(add_by_fma(x, minus_mean), slope, shift);
}

// Writes runs of one channel. In `training` x is as finite as its statistics.
template <class T, bool training>
class ChannelPass {
 public:
  ChannelPass(const Normaliser& n, double weight, double bias, Writing how)
      : n_(n), weight_(weight), bias_(bias), how_(how) {
    if constexpr (suits_single<T>) single_ = single_line(n, weight, bias);
  }

  // `runs` runs, the strides between them as in Runs.
  NORMDROP_OUT_OF_LINE void write(const Runs<T>& in, T* y, std::int64_t y_stride) const {
    with_length_of<T>(in.length, [&](auto length) NORMDROP_LAMBDA_INLINE {
      for (std::int64_t r = 0; r < in.runs; ++r) {
        run(in.x + r * in.stride, y + r * y_stride, length);
      }
    });
  }

 private:
  template <class Length>
  NORMDROP_LAMBDA_INLINE void run(const T* x, T* y, Length length) const {
    if constexpr (suits_single<T>) {
      if (!single_.usable) return run_in_double(x, y, length);
      if (!training && single_.shift_low == 0.0f) return run_in_single<Shift::whole>(x, y, length);
      run_in_single<Shift::split>(x, y, length);
    } else if constexpr (is_narrow<T>) {
      run_in_double(x, y, length);
    } else {
      n_.scale == 1.0 ? run_compensated<false>(x, y, length) : run_compensated<true>(x, y, length);
    }
  }

  template <Shift shift, class Length>
  NORMDROP_LAMBDA_INLINE void run_in_single(const T* x, T* y, Length length) const {
    const SingleLinePacks line = packs_of(single_);
    const Writing how = how_.of(length);
    for_each_pack_after(how.head, length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      store(y + i, on_line<shift>(load_float(x + i, extent), line), extent, how);
    });
  }

  template <class Length>
  NORMDROP_LAMBDA_INLINE void run_in_double(const T* x, T* y, Length length) const {
    const DoubleLine line = double_line(n_, weight_, bias_);
    const pack minus_mean = splat(line.minus_mean);
    const pack slope = splat(line.slope);
    const pack shift = splat(line.shift);
    const Writing how = how_.of(length);
    for_each_pack_after(how.head, length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      store(y + i, on_line(load(x + i, extent), minus_mean, slope, shift), extent, how);
    });
  }

  template <bool scaled, class Length>
  NORMDROP_LAMBDA_INLINE void run_compensated(const double* x, double* y, Length length) const {
    const NormaliserPacks packs = packs_of<double>(n_);
    const pack weights = splat(weight_);
    const pack biases = splat(bias_);
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack value = rescale<scaled>(load(x + i, extent), n_.scale);
      const normalised high_low = normalise<double, training>(value, packs);
      store(y + i, affine<double>(high_low, weights, biases), extent);
    });
  }

  Normaliser n_;
  double weight_;
  double bias_;
  Writing how_;
  SingleLine single_{};
};

// Different channels may be set at the same time.
struct LineStatistics {
  double* mean_high;
  double* mean_low;
  double* inv_std;
  NORMDROP_LAMBDA_INLINE void set(std::int64_t channel, const Normaliser& n) const {
    mean_high[channel] = n.mean.high;
    mean_low[channel] = n.mean.low;
    inv_std[channel] = n.inv_std.high;
  }
};

// The lines of neighbouring columns as arrays, for rows of them. Column j is channel j % channels.
class ChannelLines {
 public:
  ChannelLines(std::int64_t columns, std::int64_t channels)
      : columns_(columns),
        channels_(channels),
        width_(padded(columns)),
        doubles_(double_arrays * width_ + pack_size),
        floats_(float_arrays * width_ + pack_size) {
    for (std::int64_t i = 0; i < double_arrays * width_ + pack_size; ++i) doubles_[i] = 0.0;
    for (std::int64_t i = 0; i < float_arrays * width_ + pack_size; ++i) floats_[i] = 0.0f;
  }

  // To be set, of every channel, before close().
  LineStatistics statistics() const {
    return {doubles(mean_high), doubles(mean_low), doubles(inv_std)};
  }

  // The lines of all columns, with the channels' parameters (or null).
  void close(const float* weight, const float* bias) {
    widen_parameter(weight, 1.0, doubles(double_slope));
    widen_parameter(bias, 0.0, doubles(double_shift));
    make_lines();
    const float* usables = floats(usable);
    const float* shifts_low = floats(shift_low);
    std::int64_t in_single = 0;
    std::int64_t whole = 0;
#pragma omp simd reduction(+ : in_single, whole)
    for (std::int64_t c = 0; c < channels_; ++c) {
      in_single += usables[c] != 0.0f ? 1 : 0;
      whole += shifts_low[c] == 0.0f ? 1 : 0;
    }
    all_in_single_ = in_single == channels_;
    shifts_ = whole == channels_ ? Shift::whole : (whole == 0 ? Shift::split : Shift::mixed);
    repeat(doubles_.data(), double_arrays);
    repeat(floats_.data(), float_arrays);
  }

  // Columns [begin, begin + count) of a row.
  template <bool training, class T>
  void write(const T* x, T* y, std::int64_t begin, std::int64_t count, Writing how) const {
    if constexpr (!training) {
      if (shifts_ == Shift::whole) return write_some<Shift::whole>(x, y, begin, count, how);
      if (shifts_ == Shift::mixed) return write_some<Shift::mixed>(x, y, begin, count, how);
    }
    write_some<Shift::split>(x, y, begin, count, how);
  }

 private:
  enum Doubles { mean_high, mean_low, inv_std, double_slope, double_shift, double_arrays };
  enum Floats { minus_centre, slope_high, slope_low, shift_high, shift_low, usable, float_arrays };
  double* doubles(int which) const { return doubles_.data() + which * width_; }
  float* floats(int which) const { return floats_.data() + which * width_; }

  void widen_parameter(const float* values, double otherwise, double* target) const {
    if (values == nullptr) {
      for (std::int64_t c = 0; c < channels_; ++c) target[c] = otherwise;
      return;
    }
#pragma omp simd
    for (std::int64_t c = 0; c < channels_; ++c) target[c] = static_cast<double>(values[c]);
  }

  // In vectors of channels: a channel's scalars take as long as sixty elements.
  void make_lines() {
    double* high = doubles(mean_high);
    double* low = doubles(mean_low);
    const double* inv_stds = doubles(inv_std);
    double* slope = doubles(double_slope);
    double* shift = doubles(double_shift);
    float* at = floats(0);
    const std::int64_t width = width_;
#pragma omp simd
    for (std::int64_t c = 0; c < channels_; ++c) {
      const SingleLine line = single_line(high[c], low[c], inv_stds[c], slope[c], shift[c]);
      at[c] = line.minus_centre;
      at[width + c] = line.slope_high;
      at[2 * width + c] = line.slope_low;
      at[3 * width + c] = line.shift_high;
      at[4 * width + c] = line.shift_low;
      at[5 * width + c] = line.usable ? 1.0f : 0.0f;
      slope[c] = inv_stds[c] * slope[c];
      shift[c] = shift[c] - low[c] * slope[c];
    }
  }

  template <class Value>
  void repeat(Value* arrays, int count) const {
    for (int k = 0; k < count; ++k) {
      Value* values = arrays + k * width_;
      for (std::int64_t j = channels_; j < columns_; ++j) values[j] = values[j - channels_];
    }
  }

  template <Shift shift, class T>
  NORMDROP_OUT_OF_LINE void write_some(const T* x, T* y, std::int64_t begin, std::int64_t count,
                                       Writing how) const {
    const bool all = all_in_single_;
    const float* lines = floats_.data() + begin;
    const std::int64_t width = width_;
    for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = lines + j;
      const SingleLinePacks line{load_float(at), load_float(at + width), load_float(at + 2 * width),
                                 load_float(at + 3 * width),
                                 shift == Shift::whole ? float_pack{} : load_float(at + 4 * width)};
      const float_pack single = on_line<shift>(load_float(x + j, extent), line);
      if (all) return store(y + j, single, extent, how);
      write_mixed(load(x + j, extent), y + j, begin + j, extent.count, single);
    });
  }

  // A pack of columns of which some are done in double.
  template <class T>
  NORMDROP_OUT_OF_LINE void write_mixed(pack x, T* y, std::int64_t column, int count,
                                        float_pack single) const {
    const pack minus_mean = splat(-0.0) - load(doubles(mean_high) + column);
    const float* in_float = floats(usable) + column;
    float in_single[pack_size];
    float in_double[pack_size];
    store_float(in_single, single);
    store(in_double, on_line(x, minus_mean, load(doubles(double_slope) + column),
                             load(doubles(double_shift) + column)));
    for (int i = 0; i < count; ++i) {
      if (in_float[i] == 0.0f) in_single[i] = in_double[i];
    }
    store_float(y, load_float(in_single), last_pack{count});
  }

  std::int64_t columns_;
  std::int64_t channels_;
  std::int64_t width_;
  Scratch<double> doubles_;
  Scratch<float> floats_;
  bool all_in_single_ = false;
  Shift shifts_ = Shift::mixed;
};

}  // namespace normdrop::NORMDROP_ISA
