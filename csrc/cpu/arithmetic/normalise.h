// The pass that writes y = (x - mean) * inv_std * weight + bias.
//
// In double, float32 results are within 0.51 units of the last place, float64 ones within 3.
// float32 rows with an ordinary mean and spread take single precision with the rounding of the
// mean, of inv_std and of x^ carried along, which stays below 2 units at 0.6 of the time.
#pragma once

#include "cpu/arithmetic/moments.h"
#include "cpu/simd/simd_float.h"

namespace normdrop::NORMDROP_ISA {

// Normalised values x^ as a sum of two packs; `low` is used for float64 only.
struct normalised {
  pack high;
  pack low;
};

struct NormaliserPacks {
  pack minus_mean_high;
  pack minus_mean_low;  // float32: times inv_std
  pack inv_std_high;
  pack inv_std_low;
};

template <class T>
NORMDROP_INLINE NormaliserPacks packs_of(const Normaliser& n) {
  const double low = is_narrow<T> ? n.mean.low * n.inv_std.high : n.mean.low;
  return {splat(-n.mean.high), splat(-low), splat(n.inv_std.high), splat(n.inv_std.low)};
}

// With `finite`, as in training, no x^ is inf: what such a high part lacks would be NaN.
template <class T, bool finite = true>
NORMDROP_INLINE normalised normalise(pack x, const NormaliserPacks& n) {
  if constexpr (is_narrow<T>) {
    const pack near = add_by_fma(x, n.minus_mean_high);
    return {multiply_add(near, n.inv_std_high, n.minus_mean_low), pack{}};
  }
  const pack deviation = (x + n.minus_mean_high) + n.minus_mean_low;
  const pack high = deviation * n.inv_std_high;
  pack rest{};
  if constexpr (has_fma) rest = multiply_subtract(deviation, n.inv_std_high, high);
  pack low = multiply_add(deviation, n.inv_std_low, rest);
  if constexpr (!finite) {
    NORMDROP_EACH_PART { low.part[p] = high.part[p] - high.part[p] == f64{} ? low.part[p] : f64{}; }
  }
  return {high, low};
}

// x^ * weight + bias, with either left out.
template <class T, bool has_weight, bool has_bias>
NORMDROP_INLINE pack affine(const normalised& x, pack weight, pack bias) {
  constexpr bool has_low = sizeof(T) == 8;
  if constexpr (has_weight) {
    if constexpr (has_low && has_bias) bias = multiply_add(x.low, weight, bias);
    if constexpr (has_low && !has_bias) bias = x.low * weight;
    return has_low || has_bias ? multiply_add(x.high, weight, bias) : x.high * weight;
  } else {
    pack y = x.high;
    if constexpr (has_low && has_bias) return y + (x.low + bias);
    if constexpr (has_low) return y + x.low;
    return has_bias ? y + bias : y;
  }
}

// Calls body(has_weight, has_bias) with compile-time truth values.
template <class Body>
NORMDROP_INLINE void for_parameters(bool weight, bool bias, Body&& body) {
  if (weight && bias) return body(truth<true>{}, truth<true>{});
  if (weight) return body(truth<true>{}, truth<false>{});
  if (bias) return body(truth<false>{}, truth<true>{});
  body(truth<false>{}, truth<false>{});
}

// A run with a weight and a bias for each element; either may be null.
template <bool scaled, class T>
NORMDROP_INLINE void normalise_run_in_double(const T* x, T* y, std::int64_t length,
                                             const Normaliser& n, const wide<T>* weight,
                                             const wide<T>* bias) {
  const NormaliserPacks packs = packs_of<T>(n);
  for_parameters(weight != nullptr, bias != nullptr, [&](auto w, auto b) {
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack value = rescale<scaled>(load(x + i, extent), n.scale);
      const pack weights = w.is ? load(weight + i, extent) : pack{};
      const pack biases = b.is ? load(bias + i, extent) : pack{};
      store(y + i, affine<T, w.is, b.is>(normalise<T>(value, packs), weights, biases), extent);
    });
  });
}

// What the pass in single precision needs of a row, and whether it will do: x - float(mean) must
// neither overflow nor leave the elements next to the mean to rounding.
struct SingleNormaliser {
  float centre;
  float inv_std_high;
  float inv_std_low;
  float offset;
  bool usable;
};

// Without a mean, only what inv_std lacks must stay above underflow.
template <bool centred = true>
NORMDROP_INLINE SingleNormaliser single_normaliser(const MeanParts& mean, double inv_std) {
  constexpr double largest = centred ? 0x1p+30 : 0x1p+90;
  const double sum = mean.centre + mean.offset;
  const auto centre = static_cast<float>(sum);
  const auto inv_std_high = static_cast<float>(inv_std);
  const double rest = ((mean.centre - static_cast<double>(centre)) + mean.offset) + mean.rest;
  const bool usable = has_fma & within(inv_std, 1.0 / largest, largest) &
                      ((sum == 0.0) | within(sum * inv_std, 0x1p-70, 8.0));
  return {centre, inv_std_high, static_cast<float>(inv_std - static_cast<double>(inv_std_high)),
          static_cast<float>(-rest * inv_std), usable};
}

template <bool centred = true>
NORMDROP_INLINE SingleNormaliser single_normaliser(double_double mean, double inv_std) {
  return single_normaliser<centred>(MeanParts{mean.high, mean.low, 0.0}, inv_std);
}

// x_hat = (x - centre) * inv_std + offset as a sum of two floats; y with one closing multiply-add.
// Where the statistic is not centred, centre and offset are 0.
template <bool centred, class T, class Length>
NORMDROP_INLINE void normalise_run_in_single(const T* x, T* y, Length length,
                                             const SingleNormaliser& n, const float* weight,
                                             const float* bias, Writing how) {
  const float_pack minus_centre = splat_float(-n.centre);
  const float_pack high_factor = splat_float(n.inv_std_high);
  const float_pack low_factor = splat_float(n.inv_std_low);
  const float_pack offset = splat_float(n.offset);
  const auto load = [&](std::int64_t i, auto extent)
                        NORMDROP_LAMBDA_INLINE { return load_float(x + i, extent); };
  for_parameters(weight != nullptr, bias != nullptr, [&](auto w, auto b) {
    for_each_pack_ahead(how.head, length, load,
                        [&](std::int64_t i, auto extent, float_pack value) NORMDROP_LAMBDA_INLINE {
      const float_pack near = centred ? value + minus_centre : value;
      const float_pack high = near * high_factor;
      const float_pack error = multiply_subtract(near, high_factor, high);
      const float_pack low = centred ? error + multiply_add(near, low_factor, offset)
                                     : multiply_add(near, low_factor, error);
      const float_pack weights = w.is ? load_float(weight + i, extent) : float_pack{};
      float_pack shift = b.is ? load_float(bias + i, extent) : float_pack{};
      if constexpr (w.is && b.is) shift = multiply_add(low, weights, shift);
      if constexpr (w.is && !b.is) shift = low * weights;
      if constexpr (!w.is) shift = low + shift;
      store(y + i, w.is ? multiply_add(high, weights, shift) : high + shift, extent, how);
    });
  });
}

template <bool centred, class T>
NORMDROP_INLINE void normalise_run(const T* x, T* y, std::int64_t length, const Normaliser& n,
                                   const wide<T>* weight, const wide<T>* bias, Writing how) {
  if constexpr (suits_single<T>) {
    const SingleNormaliser single = single_normaliser<centred>(n.mean, n.inv_std.high);
    if (single.usable) {
      return normalise_run_in_single<centred>(x, y, any_length{length}, single, weight, bias, how);
    }
  }
  if (n.scale == 1.0) {
    normalise_run_in_double<false>(x, y, length, n, weight, bias);
  } else {
    normalise_run_in_double<true>(x, y, length, n, weight, bias);
  }
}

}  // namespace normdrop::NORMDROP_ISA
