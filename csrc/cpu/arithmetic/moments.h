// Mean and sum of squared deviations of runs of elements, to about 2^-50 relative to the standard
// deviation (not to the mean).
//
// float32, float16, bfloat16: doubles hold every element and difference; deviations are taken from
//   a centre (one of the first elements) in one pass, and the centre's distance from the mean is
//   taken out.
// float64: the mean is summed in double-double, then a second pass takes the deviations.
// A run longer than a chunk is cut by its shape; chunks are merged in order.
#pragma once

#include "cpu/arithmetic/squares.h"

namespace normdrop::NORMDROP_ISA {

struct Moments {
  static constexpr bool centred = true;
  double count;
  double_double mean;
  double sum_of_squares;  // of the deviations from the mean

  template <bool scaled, class T>
  static Moments part(const Runs<T>& chunk);
};

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

// The same in the lanes of packs. Squares have two sums, of every other pack: multiply-adds take
// longer than the rest of a pack's work. (Deviations too would be more registers than AVX2 has.)
struct DeviationPacks {
  pack total = splat(0.0);
  pack square = splat(0.0);
  pack odd_square = splat(0.0);

  NORMDROP_LAMBDA_INLINE void add(pack deviation) {
    total = total + deviation;
    square = multiply_add(deviation, deviation, square);
  }
  NORMDROP_LAMBDA_INLINE void add_odd(pack deviation) {
    total = total + deviation;
    odd_square = multiply_add(deviation, deviation, odd_square);
  }
  pack squares() const { return square + odd_square; }
};

template <bool scaled, class T, class Length>
NORMDROP_INLINE DeviationPacks deviation_packs(const Runs<T>& in, Length length, double centre) {
  const pack minus_centre = splat(-centre);
  const auto deviation = [&](const T* x, auto extent) NORMDROP_LAMBDA_INLINE {
    return keep(rescale<scaled>(load(x, extent), in.scale) + minus_centre, extent);
  };
  DeviationPacks sums;
  for (std::int64_t r = 0; r < in.runs; ++r) {
    const T* x = in.x + r * in.stride;
    for_each_pair_of_packs(length,
                           [&](std::int64_t i, auto extent, auto odd) NORMDROP_LAMBDA_INLINE {
      const pack d = deviation(x + i, extent);
      odd.is ? sums.add_odd(d) : sums.add(d);
    });
  }
  return sums;
}

template <bool scaled, class T, class Length>
NORMDROP_INLINE DeviationSums deviation_sums_about(const Runs<T>& in, Length length,
                                                   double centre) {
  const DeviationPacks sums = deviation_packs<scaled>(in, length, centre);
  return {centre, sum_of_lanes(sums.total), sum_of_lanes(sums.squares())};
}

template <bool scaled, class T>
NORMDROP_OUT_OF_LINE DeviationSums deviation_sums_about(const Runs<T>& in, double centre) {
  return deviation_sums_about<scaled>(in, any_length{in.length}, centre);
}

// From a centre that turns out to lie over 4 standard deviations off, the sums are taken again from
// the mean: elements next to the mean would notice the digits that the long way there costs.
template <bool scaled, class T, class Length>
NORMDROP_INLINE DeviationSums deviation_sums(const Runs<T>& in, Length length) {
  const double centre = centre_of<scaled>(in);
  DeviationSums sums;
  if constexpr (Length::is_short) {
    sums = deviation_sums_about<scaled>(in, length, centre);
  } else {
    sums = deviation_sums_about<scaled>(in, centre);
  }
  const double count = static_cast<double>(in.runs * in.length);
  if (__builtin_expect(17.0 * sums.total * sums.total > 16.0 * count * sums.square, 0)) {
    return deviation_sums_about<scaled>(in, sums.centre + sums.total / count);
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
  const auto deviation = [&](const double* x, auto extent) NORMDROP_LAMBDA_INLINE {
    const pack value = rescale<scaled>(load(x, extent), in.scale);
    return keep(subtract_by_fma(value - mean_high, mean_low), extent);
  };
  return {count, mean, sum_of_squares_of(in, deviation)};
}

template <bool scaled, class T>
NORMDROP_OUT_OF_LINE Moments Moments::part(const Runs<T>& chunk) {
  return chunk_moments<scaled>(chunk);
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

NORMDROP_INLINE bool is_finite(const Moments& moments) {
  return is_finite(moments.sum_of_squares) && is_finite(moments.mean.high);
}

NORMDROP_INLINE Normaliser normaliser(const Moments& moments, double eps, double scale) {
  return normaliser(moments.mean, moments.sum_of_squares, moments.count, eps, scale);
}

// Mean of a run whose elements are not all finite: what a plain sum gives.
template <class T>
double plain_mean(const Runs<T>& in) {
  double sum = 0.0;
  for (std::int64_t r = 0; r < in.runs; ++r) {
    for (std::int64_t i = 0; i < in.length; ++i) {
      sum += static_cast<double>(value_of(in.x[r * in.stride + i])) * in.scale;
    }
  }
  return sum / static_cast<double>(in.runs * in.length);
}

template <class T>
Normaliser spoilt_normaliser(const Moments&, const Runs<T>& in) {
  const double nan = __builtin_nan("");
  return {{plain_mean(in), 0.0}, {nan, 0.0}, nan, in.scale};
}

}  // namespace normdrop::NORMDROP_ISA
