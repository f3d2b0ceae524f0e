// What a normalising pass makes of the moments of a set, and the pass itself:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// in single precision with corrections where the numbers allow it, else in double.
#pragma once

#include "cuda/arithmetic/moments.cuh"

namespace normdrop::NORMDROP_DEVICE {

// What a pass in single precision needs of a row or channel, and whether it will do: x -
// float(mean) must neither overflow nor leave the elements next to the mean to rounding.
struct SingleNormaliser {
  float centre;
  float inv_std_high;
  float inv_std_low;
  float offset;
  long long usable;  // a flag; 8 bytes, so that lanes can exchange the struct
};

// What the normalising pass needs: the mean and 1 / sqrt(var + eps), of the elements times `scale`,
// each as a sum of two doubles; and the same in single precision.
struct Normaliser {
  double_double mean;
  double_double inv_std;
  double var;
  double scale;
  SingleNormaliser single;
};

__device__ __forceinline__ bool within(double value, double low, double high) {
  const double magnitude = fabs(value);
  return magnitude >= low && magnitude <= high;
}

__device__ __forceinline__ SingleNormaliser single_normaliser(double_double mean, double inv_std) {
  const double sum = mean.high + mean.low;
  const float centre = rounded<float>(sum);
  const float inv_std_high = rounded<float>(inv_std);
  const double rest = (mean.high - static_cast<double>(centre)) + mean.low;
  const bool usable =
      within(inv_std, 0x1p-30, 0x1p+30) && (sum == 0.0 || within(sum * inv_std, 0x1p-70, 8.0));
  return {centre, inv_std_high, rounded<float>(inv_std - static_cast<double>(inv_std_high)),
          rounded<float>(-rest * inv_std), usable};
}

// Where a sum is not finite. Beside an infinity the squares of all other elements are nothing.
__device__ __forceinline__ Normaliser spoilt_normaliser(const Moments& m, bool centred) {
  const double nan = double_of(std::uint64_t{0x7ff8000000000000u});
  Normaliser n{};
  n.scale = m.scale;
  if (!centred && m.sum_of_squares == m.sum_of_squares) {
    n.var = m.sum_of_squares;
    return n;
  }
  // The mean of an infinity is itself, which Divisor does not give.
  n.mean = {centred ? m.sum.high / m.count : 0.0, 0.0};
  n.inv_std = {nan, 0.0};
  n.var = nan;
  return n;
}

template <class T, class Statistic>
__device__ __forceinline__ Normaliser normaliser_of(const Moments& m, const Divisor& count,
                                                    double eps, Statistic statistic) {
  if (!is_finite(m.sum_of_squares) || !is_finite(m.sum.high)) {
    return spoilt_normaliser(m, statistic.centred());
  }
  Normaliser n{};
  n.mean = count.quotient(m.sum);
  n.scale = m.scale;
  const double scaled_eps = eps * m.scale * m.scale;
  const double_double var = count.quotient({m.sum_of_squares, 0.0});
  n.var = var.high;
  if (var.high == 0.0 || !is_finite(scaled_eps)) {
    // Constant elements, whose x - mean is exactly 0 and must stay 0 with eps = 0 too; or an eps
    // beside which the variance is nothing.
    const double_double inv_std = eps > 0.0 ? inverse_sqrt({eps, 0.0}) : double_double{0.0, 0.0};
    n.inv_std = {inv_std.high / m.scale, inv_std.low / m.scale};
  } else {
    const double_double sum = two_sum(var.high, scaled_eps);
    n.inv_std = inverse_sqrt({sum.high, sum.low + var.low});
  }
  if constexpr (sizeof(T) < 8) n.single = single_normaliser(n.mean, n.inv_std.high);
  return n;
}

// Statistics as the caller sees them: of the unscaled elements.
__device__ __forceinline__ double reported_mean(const Normaliser& n) {
  return (n.mean.high + n.mean.low) / n.scale;
}
__device__ __forceinline__ double reported_var(const Normaliser& n) {
  return n.var / n.scale / n.scale;
}
__device__ __forceinline__ double reported_inv_std(const Normaliser& n) {
  if (n.inv_std.high == 0.0 && n.var == 0.0) return double_of(std::uint64_t{0x7ff0000000000000u});
  return (n.inv_std.high + n.inv_std.low) * n.scale;
}

// Statistics as the caller asked for them; any may be null.
struct Statistics {
  double* mean = nullptr;
  double* var = nullptr;
  double* inv_std = nullptr;
  double* norm = nullptr;  // the root of what is var elsewhere

  __device__ void set(std::int64_t set, const Normaliser& n) const {
    if (mean != nullptr) mean[set] = reported_mean(n);
    if (var != nullptr) var[set] = reported_var(n);
    if (inv_std != nullptr) inv_std[set] = reported_inv_std(n);
    if (norm != nullptr) norm[set] = sqrt(n.var) / n.scale;
  }
};

// What a thread holds of a normaliser: float and narrower elements look at the doubles rarely.
template <class T>
struct held_for {
  using type = SingleNormaliser;
};
template <>
struct held_for<double> {
  using type = Normaliser;
};
template <class T>
using Held = typename held_for<T>::type;

template <class T>
__device__ __forceinline__ Held<T> hold(const Normaliser& n) {
  if constexpr (sizeof(T) == 8) {
    return n;
  } else {
    return n.single;
  }
}

// y = x^ * weight + bias. In single precision x^ = (x - centre) * inv_std + offset is a sum of two
// floats and one multiply-add closes; below 2 units of the last place. The few digits of a half
// type need no second float.
template <class T>
__device__ __forceinline__ T normalised_in_single(T x, const SingleNormaliser& n, float weight,
                                                  float bias, bool has_bias) {
  const float near = to_float(x) - n.centre;
  if constexpr (sizeof(T) == 2) {
    const float x_hat = fmaf(near, n.inv_std_high, n.offset);
    return rounded<T>(has_bias ? fmaf(x_hat, weight, bias) : x_hat * weight);
  }
  const float high = near * n.inv_std_high;
  const float low = fmaf(near, n.inv_std_high, -high) + fmaf(near, n.inv_std_low, n.offset);
  const float shift = has_bias ? fmaf(low, weight, bias) : low * weight;
  return rounded<T>(fmaf(high, weight, shift));
}

template <class T>
__device__ __forceinline__ T normalised_in_double(T x, const Normaliser& n, double weight,
                                                  double bias, bool has_bias) {
  const double low = n.mean.low * n.inv_std.high;
  const double x_hat = fma(static_cast<double>(to_float(x)) - n.mean.high, n.inv_std.high, -low);
  return rounded<T>(has_bias ? fma(x_hat, weight, bias) : x_hat * weight);
}

// `finite` is false where x^ may be inf, as at inference: what such a high part lacks would be NaN.
template <bool finite>
__device__ __forceinline__ double normalised_exactly(double x, const Normaliser& n, double weight,
                                                     double bias, bool has_bias) {
  const double deviation = (x * n.scale - n.mean.high) - n.mean.low;
  const double high = deviation * n.inv_std.high;
  double low = fma(deviation, n.inv_std.low, fma(deviation, n.inv_std.high, -high));
  if (!finite && high - high != 0.0) low = 0.0;
  return fma(high, weight, has_bias ? fma(low, weight, bias) : low * weight);
}

// Whether single precision will do: at inference x^ may be beyond float where its product with a
// small weight is not.
template <bool finite, class T>
__device__ __forceinline__ bool fits_single(T x, const SingleNormaliser& n) {
  return n.usable && (finite || within((to_float(x) - n.centre) * n.inv_std_high, 0.0, 0x1p+127));
}

template <bool finite, class T>
__device__ __forceinline__ T normalised(T x, const Held<T>& held, const Normaliser* full,
                                        wide<T> weight, wide<T> bias, bool has_bias) {
  if constexpr (sizeof(T) == 8) {
    return normalised_exactly<finite>(x, held, weight, bias, has_bias);
  } else {
    if (fits_single<finite>(x, held)) return normalised_in_single(x, held, weight, bias, has_bias);
    return normalised_in_double(x, *full, static_cast<double>(weight), static_cast<double>(bias),
                                has_bias);
  }
}

// A pack of one normaliser: the same results, and one branch.
template <bool finite, class T, int elements>
__device__ __forceinline__ void normalise_pack(Pack<T, elements>& pack, const Held<T>& held,
                                               const Normaliser* full,
                                               const wide<T> (&weight)[elements],
                                               const wide<T> (&bias)[elements], bool has_bias) {
  bool in_single = sizeof(T) < 8;
  if constexpr (sizeof(T) < 8) {
#pragma unroll
    for (int j = 0; j < elements; ++j) in_single &= fits_single<finite>(pack[j], held);
    if (in_single) {
#pragma unroll
      for (int j = 0; j < elements; ++j) {
        pack.set(j, normalised_in_single(pack[j], held, weight[j], bias[j], has_bias));
      }
    }
  }
  if (in_single) return;
#pragma unroll
  for (int j = 0; j < elements; ++j) {
    pack.set(j, normalised<finite>(pack[j], held, full, weight[j], bias[j], has_bias));
  }
}

// What all threads of a block shall use, worked out by the first warp.
template <class T, class Statistic, class MomentsOfAll>
__device__ __forceinline__ void share_normaliser(const Divisor& count, double eps,
                                                 Statistic statistic, Normaliser* shared,
                                                 MomentsOfAll&& moments) {
  if (threadIdx.x < warp_threads) {
    const Normaliser n = normaliser_of<T>(moments(), count, eps, statistic);
    if (threadIdx.x == 0) *shared = n;
  }
  __syncthreads();
}

}  // namespace normdrop::NORMDROP_DEVICE
