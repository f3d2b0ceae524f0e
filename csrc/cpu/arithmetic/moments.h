// Mean and sum of squared deviations of runs of elements, to about 2^-50 relative to the standard
// deviation (not to the mean), and what a normalising pass needs of them.
//
// float32, float16, bfloat16: doubles hold every element and difference; deviations are taken from a centre (one of the
//   first elements) in one pass, and the centre's distance from the mean is taken out.
// float64: the mean is summed in double-double, then a second pass takes the deviations.
// A run longer than a chunk is cut by its shape; chunks are merged in order.
#pragma once

#include "cpu/arithmetic/double_double.h"
#include "cpu/parallel.h"
#include "cpu/simd/simd_half.h"
#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

struct Moments {
  double count;
  double_double mean;
  double sum_of_squares;  // of the deviations from the mean
};

// `runs` runs of `length` neighbouring elements, `stride` elements apart.
template <class T>
struct Runs {
  const T* x;
  std::int64_t runs;
  std::int64_t length;
  std::int64_t stride;
  double scale = 1.0;  // a power of two, for values whose squares leave the range of a double
};

template <bool scaled>
NORMDROP_INLINE pack rescale(pack value, double scale) {
  if constexpr (scaled) return value * splat(scale);
  return value;
}

// The median of the first three elements: cheap, and one outlier cannot move it. See deviation_sums
// for the rows that begin with more of them.
template <bool scaled, class T>
NORMDROP_INLINE double centre_of(const Runs<T>& in) {
  wide<T> centre = value_of(in.x[0]);
  if (in.length * in.runs >= 3) {
    const wide<T> a = value_of(in.x[in.length > 1 ? 1 : in.stride]);
    const wide<T> b =
        value_of(in.x[in.length > 2 ? 2 : (in.length > 1 ? in.stride : 2 * in.stride)]);
    const wide<T> low = a < centre ? a : centre;
    const wide<T> high = a < centre ? centre : a;
    const wide<T> below_high = b < high ? b : high;
    centre = low < below_high ? below_high : low;
  }
  const double value = static_cast<double>(centre);
  return scaled ? value * in.scale : value;
}

// Sums of deviations from a centre, and of their squares.
struct DeviationSums {
  double centre;
  double total;
  double square;
};

template <bool scaled, class T, class Length>
NORMDROP_INLINE DeviationSums deviation_sums_about(const Runs<T>& in, Length length,
                                                   double centre) {
  const pack minus_centre = splat(-centre);
  pack deviation = splat(0.0);
  pack square = splat(0.0);
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const T* x = in.x + r * in.stride;
    for_each_pack(length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack d = keep(rescale<scaled>(load(x + i, extent), in.scale) + minus_centre, extent);
      deviation = add_by_fma(d, deviation);
      square = multiply_add(d, d, square);
    });
  }
  return {centre, sum_of_lanes(deviation), sum_of_lanes(square)};
}

template <bool scaled, class T>
static __attribute__((noinline)) DeviationSums deviation_sums_again(const Runs<T>& in,
                                                                    double centre) {
  return deviation_sums_about<scaled>(in, any_length{in.length}, centre);
}

// From a centre that turns out to lie over 4 standard deviations off, the sums are taken again from
// the mean: elements next to the mean would notice the digits that the long way there costs.
template <bool scaled, class T, class Length>
NORMDROP_INLINE DeviationSums deviation_sums(const Runs<T>& in, Length length) {
  const DeviationSums sums = deviation_sums_about<scaled>(in, length, centre_of<scaled>(in));
  const double count = static_cast<double>(in.runs * in.length);
  if (__builtin_expect(17.0 * sums.total * sums.total > 16.0 * count * sums.square, 0)) {
    return deviation_sums_again<scaled>(in, sums.centre + sums.total / count);
  }
  return sums;
}

// What is left of the squares once the centre's distance from the mean is taken out.
NORMDROP_INLINE double squares_about_mean(double square, double total, double offset) {
  const double squares = square - total * offset;
  return squares < 0.0 ? 0.0 : squares;
}

// The mean as three doubles that are added up, the last of which is what the quotient of a sum of
// deviations lacks: an element next to the mean is as small as that.
struct MeanParts {
  double centre;
  double offset;
  double rest;
};

NORMDROP_INLINE MeanParts mean_about(double centre, double total, double count) {
  const double offset = total / count;
  return {centre, offset, remainder_of(total, offset, count) * (1.0 / count)};
}

NORMDROP_INLINE double_double sum_of(const MeanParts& mean) {
  const double_double sum = two_sum(mean.centre, mean.offset);
  return quick_two_sum(sum.high, sum.low + mean.rest);
}

NORMDROP_INLINE Moments moments_about(double centre, double total, double square, double count) {
  const MeanParts mean = mean_about(centre, total, count);
  return {count, sum_of(mean), squares_about_mean(square, total, mean.offset)};
}

template <bool scaled, class T>
NORMDROP_INLINE Moments chunk_moments(const Runs<T>& in) {
  const DeviationSums sums = deviation_sums<scaled>(in, any_length{in.length});
  const double count = static_cast<double>(in.runs * in.length);
  return moments_about(sums.centre, sums.total, sums.square, count);
}

template <bool scaled>
NORMDROP_INLINE Moments chunk_moments(const Runs<double>& in) {
  exact_sums sums{splat(0.0), splat(0.0)};
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const double* x = in.x + r * in.stride;
    for_each_pack(in.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      sums = add(sums, rescale<scaled>(load(x + i, extent), in.scale));
    });
  }
  const double count = static_cast<double>(in.runs * in.length);
  const double_double mean = divide(sum_of_lanes(sums), count);
  const pack mean_high = splat(mean.high);
  const pack mean_low = splat(mean.low);
  // Equal squares round alike and would drift: every few of them go to sums that keep their errors.
  exact_sums squares{splat(0.0), splat(0.0)};
  const auto deviation = [&](const double* x, auto extent) NORMDROP_LAMBDA_INLINE {
    const pack value = rescale<scaled>(load(x, extent), in.scale);
    return keep(subtract_by_fma(value - mean_high, mean_low), extent);
  };
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const double* x = in.x + r * in.stride;
    std::int64_t i = 0;
    for (; i + 4 * pack_size <= in.length; i += 4 * pack_size) {
      pack sum = splat(0.0);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const pack d = deviation(x + i + k * pack_size, full_pack{});
        sum = k == 0 ? d * d : multiply_add(d, d, sum);
      }
      squares = add(squares, sum);
    }
    for_each_pack(in.length - i, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
      const pack d = deviation(x + i + k, extent);
      squares = add(squares, d * d);
    });
  }
  return {count, mean, total_of(squares)};
}

// How runs are cut into chunks: by their shape alone.
struct ChunkPlan {
  std::int64_t runs_per_chunk;
  std::int64_t length_per_chunk;
  std::int64_t chunks_per_run;  // above 1 only where a chunk is part of one run
  std::int64_t chunks;
};

template <class T>
inline constexpr std::int64_t chunk_elements =
    cpu::tuning::chunk_bytes / static_cast<std::int64_t>(sizeof(T));

template <class T>
NORMDROP_INLINE ChunkPlan plan_chunks(std::int64_t runs, std::int64_t length) {
  constexpr std::int64_t chunk = chunk_elements<T>;
  if (length > chunk) {
    const std::int64_t per_run = (length + chunk - 1) / chunk;
    return {1, chunk, per_run, runs * per_run};
  }
  const std::int64_t runs_per_chunk = chunk / (length > 0 ? length : 1);
  return {runs_per_chunk, length, 1, (runs + runs_per_chunk - 1) / runs_per_chunk};
}

template <class T>
NORMDROP_INLINE Runs<T> chunk_of(const Runs<T>& in, const ChunkPlan& plan, std::int64_t chunk) {
  Runs<T> part = in;
  const std::int64_t run = chunk / plan.chunks_per_run * plan.runs_per_chunk;
  const std::int64_t begin = chunk % plan.chunks_per_run * plan.length_per_chunk;
  part.x = in.x + run * in.stride + begin;
  part.runs = in.runs - run < plan.runs_per_chunk ? in.runs - run : plan.runs_per_chunk;
  part.length =
      in.length - begin < plan.length_per_chunk ? in.length - begin : plan.length_per_chunk;
  return part;
}

// Moments of all chunks together, in order; every term of the second sum is positive.
static inline Moments merge(const Moments* chunk, std::int64_t chunks, std::int64_t step = 1) {
  double_double sum{0.0, 0.0};
  double count = 0.0;
  for (std::int64_t c = 0; c < chunks; ++c) {
    sum = add(sum, multiply(chunk[c * step].mean, chunk[c * step].count));
    count += chunk[c * step].count;
  }
  const double_double mean = divide(sum, count);
  double_double squares{0.0, 0.0};
  for (std::int64_t c = 0; c < chunks; ++c) {
    const Moments& part = chunk[c * step];
    const double distance = (part.mean.high - mean.high) + (part.mean.low - mean.low);
    squares = add(squares, two_sum(part.sum_of_squares, part.count * distance * distance));
  }
  return {count, mean, squares.high};
}

template <bool scaled, class T>
static Moments run_moments(const Runs<T>& in) {
  if (in.runs == 1 && in.length <= chunk_elements<T>) return chunk_moments<scaled>(in);
  const ChunkPlan plan = plan_chunks<T>(in.runs, in.length);
  if (plan.chunks == 1) return chunk_moments<scaled>(in);
  Scratch<Moments> chunk(plan.chunks);
  for (std::int64_t c = 0; c < plan.chunks; ++c) {
    chunk[c] = chunk_moments<scaled>(chunk_of(in, plan, c));
  }
  return merge(chunk.data(), plan.chunks);
}

NORMDROP_INLINE bool is_finite(double value) { return value * 0.0 == 0.0; }

NORMDROP_INLINE bool within(double value, double low, double high) {
  const double magnitude = value < 0.0 ? -value : value;
  return magnitude >= low && magnitude <= high;
}

// What a normalising pass needs: the mean and 1 / sqrt(var + eps), each as a sum of two doubles,
// of the elements times `scale`.
struct Normaliser {
  double_double mean;
  double_double inv_std;
  double var;
  double scale;
};

// 1 / sqrt(v), with one Newton step for the part that a double cannot hold.
NORMDROP_INLINE double_double inverse_sqrt(double_double v) {
  const double guess = 1.0 / __builtin_sqrt(v.high);
  const double square = v.high * guess;
  const double residual = __builtin_fma(-square, guess, 1.0) -
                          (__builtin_fma(v.high, guess, -square) + v.low * guess) * guess;
  const double correction = 0.5 * guess * residual;
  return {guess, correction * 0.0 == 0.0 ? correction : 0.0};
}

NORMDROP_INLINE Normaliser normaliser(const Moments& moments, double eps, double scale) {
  const double scaled_eps = eps * scale * scale;
  const double_double var = divide({moments.sum_of_squares, 0.0}, moments.count);
  if (var.high == 0.0 || !is_finite(scaled_eps)) {
    // A constant run, whose x - mean is exactly 0 and must stay 0 with eps = 0 too; or an eps
    // beside which the variance is nothing.
    const double_double inv_std = eps > 0.0 ? inverse_sqrt({eps, 0.0}) : double_double{0.0, 0.0};
    return {moments.mean, {inv_std.high / scale, inv_std.low / scale}, var.high, scale};
  }
  const double_double sum = two_sum(var.high, scaled_eps);
  return {moments.mean, inverse_sqrt({sum.high, sum.low + var.low}), var.high, scale};
}

// Statistics as the caller sees them: of the unscaled elements.
NORMDROP_INLINE double reported_mean(const Normaliser& n) {
  return (n.mean.high + n.mean.low) / n.scale;
}
NORMDROP_INLINE double reported_var(const Normaliser& n) { return n.var / n.scale / n.scale; }
NORMDROP_INLINE double reported_inv_std(const Normaliser& n) {
  if (n.inv_std.high == 0.0 && n.var == 0.0) return __builtin_inf();
  return (n.inv_std.high + n.inv_std.low) * n.scale;
}

// Squares of doubles beyond about 1e150 overflow and below 1e-150 vanish. Such runs are done
// again, times one of two powers of two that together cover the whole range.
inline constexpr double shrink = 0x1p-700;
inline constexpr double grow = 0x1p+700;
inline constexpr double smallest_safe_variance = 0x1p-800;

// Mean of a run whose elements are not all finite: what a plain sum gives.
template <class T>
static double plain_mean(const Runs<T>& in) {
  double sum = 0.0;
  for (std::int64_t r = 0; r < in.runs; ++r) {
    for (std::int64_t i = 0; i < in.length; ++i) {
      sum += static_cast<double>(value_of(in.x[r * in.stride + i])) * in.scale;
    }
  }
  return sum / static_cast<double>(in.runs * in.length);
}

template <class T>
static Normaliser finish(const Moments& moments, const Runs<T>& in, double eps) {
  const bool finite = is_finite(moments.sum_of_squares) && is_finite(moments.mean.high);
  const Normaliser plain = normaliser(moments, eps, 1.0);
  if (finite && (is_narrow<T> || plain.var >= smallest_safe_variance)) return plain;
  Runs<T> scaled_runs = in;
  if constexpr (sizeof(T) == 8) {
    scaled_runs.scale = finite ? grow : shrink;
    const Moments again = run_moments<true>(scaled_runs);
    if (is_finite(again.sum_of_squares) && is_finite(again.mean.high)) {
      return normaliser(again, eps, scaled_runs.scale);
    }
    if (finite) return plain;  // a constant too large to grow
  }
  const double nan = __builtin_nan("");
  return {{plain_mean(scaled_runs), 0.0}, {nan, 0.0}, nan, scaled_runs.scale};
}

template <class T>
static Normaliser normaliser_of(const Runs<T>& in, double eps) {
  return finish(run_moments<false>(in), in, eps);
}

}  // namespace normdrop::NORMDROP_ISA
