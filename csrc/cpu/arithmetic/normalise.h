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

// x^ * weight + bias.
template <class T>
NORMDROP_INLINE pack affine(const normalised& x, pack weight, pack bias) {
  if constexpr (!is_narrow<T>) bias = multiply_add(x.low, weight, bias);
  return multiply_add(x.high, weight, bias);
}

// A run with a weight and a bias for each element (run_parameter.h). For `scaled` see statistic.h.
template <bool scaled, class T>
NORMDROP_OUT_OF_LINE void normalise_run_in_double(const T* x, T* y, std::int64_t length,
                                                  const Normaliser& n, const wide<T>* weight,
                                                  const wide<T>* bias) {
  const NormaliserPacks packs = packs_of<T>(n);
  const pack scale = splat(n.scale);
  for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
    pack value = load(x + i, extent);
    if constexpr (scaled) value = value * scale;
    const normalised x_hat = normalise<T>(value, packs);
    store(y + i, affine<T>(x_hat, load(weight + i, extent), load(bias + i, extent)), extent);
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
  for_each_pack_ahead(how.head, length, load,
                      [&](std::int64_t i, auto extent, float_pack value) NORMDROP_LAMBDA_INLINE {
    const float_pack near = centred ? value + minus_centre : value;
    const float_pack high = near * high_factor;
    const float_pack error = multiply_subtract(near, high_factor, high);
    const float_pack low = centred ? error + multiply_add(near, low_factor, offset)
                                   : multiply_add(near, low_factor, error);
    const float_pack w = load_float(weight + i, extent);
    const float_pack shift = multiply_add(low, w, load_float(bias + i, extent));
    store(y + i, multiply_add(high, w, shift), extent, how);
  });
}

template <bool centred, class T>
NORMDROP_OUT_OF_LINE void normalise_run(const T* x, T* y, std::int64_t length, const Normaliser& n,
                                        const wide<T>* weight, const wide<T>* bias, Writing how) {
  if constexpr (suits_single<T>) {
    const SingleNormaliser single = single_normaliser<centred>(n.mean, n.inv_std.high);
    if (single.usable) {
      return normalise_run_in_single<centred>(x, y, any_length{length}, single, weight, bias, how);
    }
  }
  if constexpr (!is_narrow<T>) {  // the others need no scale
    if (n.scale != 1.0) return normalise_run_in_double<true>(x, y, length, n, weight, bias);
  }
  normalise_run_in_double<false>(x, y, length, n, weight, bias);
}

}  // namespace normdrop::NORMDROP_ISA
