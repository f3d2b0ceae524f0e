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

NORMDROP_INLINE SingleLine single_line(const Normaliser& n, double weight, double bias) {
  const SingleNormaliser single = single_normaliser(n.mean, n.inv_std.high);
  const double slope = n.inv_std.high * weight;
  const double rest = (n.mean.high - static_cast<double>(single.centre)) + n.mean.low;
  const double shift = bias - rest * slope;
  const auto slope_high = static_cast<float>(slope);
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

struct SingleLinePacks {
  float_pack minus_centre;
  float_pack slope_high;
  float_pack slope_low;
  float_pack shift_high;
  float_pack shift_low;
};

// With `finite`, as in training, x holds no inf: its two products would be of opposite signs.
template <bool finite>
NORMDROP_INLINE float_pack on_line(float_pack x, const SingleLinePacks& line) {
  const float_pack near = x + line.minus_centre;
  const float_pack rest = multiply_add(near, line.slope_low, line.shift_low);
  float_pack y = multiply_add(near, line.slope_high, line.shift_high + rest);
  if constexpr (!finite) {
    const float_pack product = near * line.slope_high;
    NORMDROP_EACH_FLOAT_PART {
      y.part[p] = near.part[p] - near.part[p] == f32{} ? y.part[p] : product.part[p];
    }
  }
  return y;
}

NORMDROP_INLINE pack on_line(pack x, pack minus_mean, pack slope, pack shift) {
  return multiply_add(add_by_fma(x, minus_mean), slope, shift);
}

// Writes runs of one channel.
template <class T, bool finite>
class ChannelPass {
 public:
  ChannelPass(const Normaliser& n, double weight, double bias, Writing how)
      : n_(n), weight_(weight), bias_(bias), how_(how) {
    if constexpr (suits_single<T>) single_ = single_line(n, weight, bias);
  }

  template <class Length>
  NORMDROP_LAMBDA_INLINE void run(const T* x, T* y, Length length) const {
    if constexpr (suits_single<T>) {
      single_.usable ? run_in_single(x, y, length) : run_in_double(x, y, length);
    } else if constexpr (is_narrow<T>) {
      run_in_double(x, y, length);
    } else {
      n_.scale == 1.0 ? run_compensated<false>(x, y, length) : run_compensated<true>(x, y, length);
    }
  }

 private:
  template <class Length>
  NORMDROP_LAMBDA_INLINE void run_in_single(const T* x, T* y, Length length) const {
    const SingleLinePacks line{splat_float(single_.minus_centre), splat_float(single_.slope_high),
                               splat_float(single_.slope_low), splat_float(single_.shift_high),
                               splat_float(single_.shift_low)};
    const Writing how = how_.of(length);
    for_each_pack_after(how.head, length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      store(y + i, on_line<finite>(load_float(x + i, extent), line), extent, how);
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
      const normalised high_low = normalise<double, finite>(value, packs);
      store(y + i, affine<double>(high_low, weights, biases), extent);
    });
  }

  Normaliser n_;
  double weight_;
  double bias_;
  Writing how_;
  SingleLine single_{};
};

// The lines of neighbouring channels as arrays, for rows of channels.
class ChannelLines {
 public:
  explicit ChannelLines(std::int64_t channels)
      : channels_(channels),
        width_(padded(channels)),
        doubles_(3 * width_ + pack_size),
        floats_(6 * width_ + pack_size) {
    for (std::int64_t i = 0; i < 3 * width_ + pack_size; ++i) doubles_[i] = 0.0;
    for (std::int64_t i = 0; i < 6 * width_ + pack_size; ++i) floats_[i] = 0.0f;
  }

  // Different channels may be set at the same time.
  void set(std::int64_t channel, const Normaliser& n, double weight, double bias) {
    const DoubleLine line = double_line(n, weight, bias);
    doubles_[channel] = line.minus_mean;
    doubles_[width_ + channel] = line.slope;
    doubles_[2 * width_ + channel] = line.shift;
    const SingleLine single = single_line(n, weight, bias);
    float* at = floats_.data() + channel;
    at[0] = single.minus_centre;
    at[width_] = single.slope_high;
    at[2 * width_] = single.slope_low;
    at[3 * width_] = single.shift_high;
    at[4 * width_] = single.shift_low;
    at[5 * width_] = single.usable ? 1.0f : 0.0f;
  }

  // After the last set(): whether no channel needs doubles.
  void close() {
    all_in_single_ = true;
    for (std::int64_t c = 0; c < channels_; ++c) {
      all_in_single_ = all_in_single_ && floats_[5 * width_ + c] != 0.0f;
    }
  }

  // Channels [begin, begin + count) of a row.
  template <bool finite, class T>
  NORMDROP_OUT_OF_LINE void write(const T* x, T* y, std::int64_t begin, std::int64_t count,
                                  Writing how) const {
    const float* lines = floats_.data() + begin;
    const std::int64_t width = width_;
    const bool all = all_in_single_;
    for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = lines + j;
      const SingleLinePacks line{load_float(at), load_float(at + width), load_float(at + 2 * width),
                                 load_float(at + 3 * width), load_float(at + 4 * width)};
      const float_pack single = on_line<finite>(load_float(x + j, extent), line);
      if (__builtin_expect(all, 1)) return store(y + j, single, extent, how);
      write_mixed(load(x + j, extent), y + j, begin + j, extent.count, single);
    });
  }

 private:
  // A pack of channels of which some are done in double.
  template <class T>
  __attribute__((noinline)) void write_mixed(pack x, T* y, std::int64_t channel, int count,
                                             float_pack single) const {
    const double* at = doubles_.data() + channel;
    const float* usable = floats_.data() + 5 * width_ + channel;
    float in_single[pack_size];
    float in_double[pack_size];
    store_float(in_single, single);
    store(in_double, on_line(x, load(at), load(at + width_), load(at + 2 * width_)));
    for (int i = 0; i < count; ++i) {
      if (usable[i] == 0.0f) in_single[i] = in_double[i];
    }
    store_float(y, load_float(in_single), last_pack{count});
  }

  std::int64_t channels_;
  std::int64_t width_;
  Scratch<double> doubles_;
  Scratch<float> floats_;
  bool all_in_single_ = false;
};

}  // namespace normdrop::NORMDROP_ISA
