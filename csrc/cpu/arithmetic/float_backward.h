// The float32 backward passes in single precision, where the numbers allow it.
//
// x^ is taken as (x - centre) * inv_std + offset with centre = float(mean), so that a large mean
// cancels exactly; sums run in float over at most 4 terms in each of two accumulators and are then
// widened, which bounds their error by 5 of the 8 roundoffs that gradients have (docs/numerics.md). A row whose magnitudes
// come near the ends of float's range is left to the passes in double.
#pragma once

#include "cpu/arithmetic/gradients.h"
#include "cpu/arithmetic/moments.h"
#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {

struct RowSums {
  double g;
  double gx;
};

// The same before their lanes are added up.
struct RowSumPacks {
  pack g;
  pack gx;
};

// The sums of a row's or channel's parts, which lie `step` apart.
static inline RowSums sum_in_order(const RowSums* part, std::int64_t parts, std::int64_t step = 1) {
  return {sum_in_order(parts, [&](std::int64_t i) { return part[i * step].g; }),
          sum_in_order(parts, [&](std::int64_t i) { return part[i * step].gx; })};
}

// Statistics of one row or channel as floats.
struct FloatStats {
  float centre;
  float inv_std;
  float offset;
  bool usable;
};

// Without branches, for loops over columns.
NORMDROP_INLINE FloatStats float_stats(double mean, double inv_std) {
  const bool usable =
      has_fma & within(inv_std, 0x1p-30, 0x1p+30) & within(mean * inv_std, 0.0, 0x1p+10);
  const double near = usable ? mean : 0.0;
  const double slope = usable ? inv_std : 0.0;
  const float centre = static_cast<float>(near);
  const double rest = near - static_cast<double>(centre);
  return {centre, static_cast<float>(slope), static_cast<float>(-rest * slope), usable};
}

// grad_x = g * slope_g + (x - centre) * slope_x + shift, for g the gradient of x_hat; or of y, with
// the weight in `factor`, or apart from it where the means are of weight * g.
struct FloatSlopes {
  float slope_g;
  float slope_x;
  float shift;
  bool usable;
};

NORMDROP_INLINE FloatSlopes float_slopes(const FloatStats& stats, double inv_std, double factor,
                                         double mean_g, double mean_gx, double weight = 1.0) {
  const double slope_g = factor * weight;
  const double slope_x = -factor * mean_gx * inv_std;
  const double shift = -factor * (mean_g + mean_gx * static_cast<double>(stats.offset));
  const bool usable = stats.usable & ((slope_g == 0.0) | within(slope_g, 0x1p-40, 0x1p+40)) &
                      within(slope_x, 0.0, 0x1p+60) & within(shift, 0.0, 0x1p+60);
  return {static_cast<float>(slope_g), static_cast<float>(slope_x), static_cast<float>(shift),
          usable};
}

NORMDROP_INLINE float_pack magnitudes(float_pack value) {
  const float_pack zero{};
  NORMDROP_EACH_FLOAT_PART {
    const f32 part = value.part[p];
    value.part[p] = part < zero.part[p] ? -part : part;
  }
  return value;
}

NORMDROP_INLINE float_pack larger(float_pack a, float_pack b) {
  NORMDROP_EACH_FLOAT_PART { a.part[p] = b.part[p] > a.part[p] ? b.part[p] : a.part[p]; }
  return a;
}

// Whether some magnitude keeps all rounding above underflow, and none leaves the range in products.
NORMDROP_INLINE bool is_ordinary(float_pack largest) {
  const float_pack just_too_small = splat_float(0x1.fffffep-61f);
  const float_pack just_small_enough = splat_float(0x1p+40f);
  return any_above(largest, just_too_small) & !any_above(largest, just_small_enough);
}

// Of the first values; with weights, of their products too, which may be small where neither is.
template <bool with_weight = false, class T>
NORMDROP_INLINE bool has_ordinary_size(const T* values, std::int64_t length,
                                       const float* weight = nullptr) {
  float_pack largest{};
  float_pack largest_product{};
  for_each_pack(length < 64 ? length : 64, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
    const float_pack value = load_float(values + i, extent);
    largest = larger(largest, magnitudes(value));
    if constexpr (with_weight) {
      const float_pack product = value * load_float(weight + i, extent);
      largest_product = larger(largest_product, magnitudes(product));
    }
  });
  return is_ordinary(largest) && (!with_weight || is_ordinary(largest_product));
}

// Whether every product with one of these is of ordinary size where the other factor is. The lanes'
// smallest and largest magnitudes: a call with few rows asks this of as many elements as it has.
NORMDROP_INLINE bool are_plain_weights(const float* weight, std::int64_t length) {
  float_pack largest = splat_float(1.0f);
  float_pack smallest_negated = splat_float(-1.0f);
  std::int64_t i = 0;
  for (; i + pack_size <= length; i += pack_size) {
    const float_pack magnitude = magnitudes(load_float(weight + i, full_pack{}));
    largest = larger(largest, magnitude);
    smallest_negated = larger(smallest_negated, float_pack{} - magnitude);
  }
  float high[pack_size];
  float low[pack_size];
  store_float(high, largest);
  store_float(low, smallest_negated);
  bool plain = true;
  for (int lane = 0; lane < pack_size; ++lane) {
    plain &= high[lane] <= 0x1p+20f && low[lane] <= -0x1p-20f;
  }
  for (; i < length; ++i) plain &= within(weight[i], 0x1p-20, 0x1p+20);
  return plain;
}

// The weights of a run, or none where its gradients are of x_hat already.
struct Weights {
  const float* values;
  template <class Extent>
  NORMDROP_LAMBDA_INLINE float_pack times(float_pack g, std::int64_t i, Extent extent) const {
    return g * load_float(values + i, extent);
  }
};
struct NoWeights {
  template <class Pack, class Extent>
  NORMDROP_LAMBDA_INLINE Pack times(Pack g, std::int64_t, Extent) const {
    return g;
  }
};

// Sums over runs. At most `terms_in_float` values are added in a float lane before it is widened.
class FloatSums {
 public:
  template <class T, class AllWeights, class Length>
  NORMDROP_LAMBDA_INLINE void add_run(const T* x, const T* grad, AllWeights weights, Length run,
                                      const FloatStats& stats) {
    if constexpr (Length::is_short) {
      make_room((Length::packs + 1) / 2);
      for_each_pack(run, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        add_term(x, grad, weights, i, extent, i / pack_size % 2, stats);
      });
    } else {
      constexpr std::int64_t block = terms_in_float * 2 * pack_size;
      for (std::int64_t begin = 0; begin < run.length; begin += block) {
        const std::int64_t count = run.length - begin < block ? run.length - begin : block;
        make_room((count + 2 * pack_size - 1) / (2 * pack_size));
        add_block(x, grad, weights, begin, begin + count, stats);
      }
    }
  }

  NORMDROP_LAMBDA_INLINE RowSums total() {
    const RowSumPacks sums = packs();
    return {sum_of_lanes(sums.g), sum_of_lanes(sums.gx)};
  }
  NORMDROP_LAMBDA_INLINE RowSumPacks packs() {
    flush();
    return {g_, gx_};
  }

 private:
  static constexpr std::int64_t terms_in_float = 4;

  NORMDROP_LAMBDA_INLINE void make_room(std::int64_t terms) {
    if (terms_ + terms > terms_in_float) flush();
    terms_ += terms;
  }

  template <class T, class AllWeights, class Extent>
  NORMDROP_LAMBDA_INLINE void add_term(const T* x, const T* grad, AllWeights weights,
                                       std::int64_t i, Extent extent, std::int64_t which,
                                       const FloatStats& stats) {
    const float_pack g = weights.times(load_float(grad + i, extent), i, extent);
    const float_pack near = load_float(x + i, extent) - splat_float(stats.centre);
    const float_pack x_hat = x_hat_of(near, splat_float(stats.inv_std), splat_float(stats.offset));
    sum_g_[which] = sum_g_[which] + g;
    sum_gx_[which] = multiply_add(g, x_hat, sum_gx_[which]);
  }

  template <class T, class AllWeights>
  NORMDROP_LAMBDA_INLINE void add_block(const T* x, const T* grad, AllWeights weights,
                                        std::int64_t i, std::int64_t end, const FloatStats& stats) {
    for (; i + 2 * pack_size <= end; i += 2 * pack_size) {
      add_term(x, grad, weights, i, full_pack{}, 0, stats);
      add_term(x, grad, weights, i + pack_size, full_pack{}, 1, stats);
    }
    const std::int64_t begin = i;
    for_each_pack(end - begin, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
      add_term(x, grad, weights, begin + k, extent, 0, stats);
    });
  }

  NORMDROP_LAMBDA_INLINE void flush() {
    g_ = g_ + widen(sum_g_[0] + sum_g_[1]);
    gx_ = gx_ + widen(sum_gx_[0] + sum_gx_[1]);
    sum_g_[0] = sum_g_[1] = sum_gx_[0] = sum_gx_[1] = float_pack{};
    terms_ = 0;
  }

  pack g_ = splat(0.0);
  pack gx_ = splat(0.0);
  float_pack sum_g_[2] = {};
  float_pack sum_gx_[2] = {};
  std::int64_t terms_ = 0;
};

}  // namespace normdrop::NORMDROP_ISA
