// Count, mean and sum of squared deviations of some elements, and what a normalising pass makes of
// them. Deviations are taken from the mean of the elements at hand, never E[x^2] - E[x]^2; parts
// are merged (Chan, Golub, LeVeque 1979) in an order that the shape alone decides.
//
// float64 elements whose squares would overflow or vanish are counted times a power of two.
#pragma once

#include "cuda/arithmetic/double_double.cuh"
#include "cuda/arithmetic/packs.cuh"
#include "cuda/arithmetic/reduce.cuh"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr double shrink = 0x1p-700;
inline constexpr double grow = 0x1p+700;
inline constexpr double largest_plain = 0x1p+400;
inline constexpr double smallest_plain = 0x1p-400;

// By what elements of at most this size are multiplied. Not finite: by nothing.
template <class T>
__device__ __forceinline__ double scale_for(double largest) {
  if constexpr (sizeof(T) < 8) return 1.0;
  if (largest > largest_plain && is_finite(largest)) return shrink;
  return largest < smallest_plain ? grow : 1.0;  // zeros adapt to what they are merged with
}

// The sum, not the mean, is carried along: added up exactly and divided once, it gives a mean that
// elements next to it and equal to it can be compared with.
struct Moments {
  double count;
  double_double sum;      // times scale
  double sum_of_squares;  // of deviations, times scale^2
  double scale;

  __device__ __forceinline__ double_double mean() const { return Divisor(count).quotient(sum); }
};

__device__ __forceinline__ Moments no_moments() { return {0.0, {0.0, 0.0}, 0.0, 1.0}; }

__device__ __forceinline__ Moments rescaled(Moments m, double scale) {
  if (m.scale == scale) return m;
  const double factor = scale / m.scale;
  return {m.count,
          {m.sum.high * factor, m.sum.low * factor},
          m.sum_of_squares * factor * factor,
          scale};
}

__device__ __forceinline__ double_double add_sums(double_double a, double_double b) {
  const double plain = a.high + b.high;
  return is_finite(plain) ? add(a, b) : double_double{plain, 0.0};
}

__device__ __forceinline__ Moments combine(Moments a, Moments b) {
  if (a.count == 0.0) return b;
  if (b.count == 0.0) return a;
  const double scale = a.scale < b.scale ? a.scale : b.scale;
  a = rescaled(a, scale);
  b = rescaled(b, scale);
  const double count = a.count + b.count;
  const double_double a_mean = a.mean();
  const double distance = add(b.mean(), {-a_mean.high, -a_mean.low}).high;
  const double squares = distance * distance * (a.count * b.count / count);
  return {count, add_sums(a.sum, b.sum), (a.sum_of_squares + b.sum_of_squares) + squares, scale};
}

// Counts and sums alone, of one scale.
struct CountedSum {
  double count;
  double_double sum;
};

__device__ __forceinline__ CountedSum combine(const CountedSum& a, const CountedSum& b) {
  return {a.count + b.count, add_sums(a.sum, b.sum)};
}

// All parts of a set, merged by a warp: the sum of all first, then the squares about its mean, to
// which a part adds count * (its mean - that mean)^2. `part(i)` gives the Moments of a part.
template <class T, class Part>
__device__ __forceinline__ Moments merge_in_warp(std::int64_t parts, Part&& part) {
  double scale = 1.0;
  if constexpr (sizeof(T) == 8) {
    scale = grow;
    for (std::int64_t i = lane_in_warp(); i < parts; i += warp_threads) {
      scale = fmin(scale, part(i).scale);
    }
    scale = reduce_lanes<warp_threads>(scale, [](double a, double b) { return fmin(a, b); });
  }
  CountedSum total{};
  for (std::int64_t i = lane_in_warp(); i < parts; i += warp_threads) {
    const Moments m = rescaled(part(i), scale);
    total = combine(total, CountedSum{m.count, m.sum});
  }
  total = reduce_lanes<warp_threads>(total);
  const double_double mean = Divisor(total.count).quotient(total.sum);
  plain_sums squares{};
  for (std::int64_t i = lane_in_warp(); i < parts; i += warp_threads) {
    const Moments m = rescaled(part(i), scale);
    const double distance = add(m.mean(), {-mean.high, -mean.low}).high;
    squares.add_term(fma(distance * distance, m.count, m.sum_of_squares));
  }
  squares = reduce_lanes<warp_threads>(squares);
  return {total.count, total.sum, squares.value, scale};
}

// What a forward pass asks of a set, in the order part -> merge -> finish: the part of a chunk
// (moments_of), all parts together (merge_in_warp, combine), and the normaliser (normaliser_of in
// normalise.cuh). All are Moments. Squares are taken about 0, and their sums stay 0.
struct MeanAndVariance {
  static constexpr bool centred() { return true; }
};
struct Squares {
  static constexpr bool centred() { return false; }
};
// One of them, known at launch, where a second kernel would not pay.
struct EitherStatistic {
  bool is_centred;
  __host__ __device__ bool centred() const { return is_centred; }
};

// Shared memory of a block for the moments of what its threads hold.
template <class T>
struct MomentSlots {
  double* largest;
  running_sums<T>* sums;
  running_sums<T>* squares;
};

// Sum and squares of the elements that `threads` threads hold: two passes over registers, of
// Squares one. Deviations from a mean that is exact for equal elements vanish exactly. What lies
// beyond the end is 0 in a pack: it adds nothing to a sum, but its deviation must not count.
template <int threads, class T, class Elements, class Statistic>
__device__ __forceinline__ Moments moments_of(Elements& elements, const Divisor& count,
                                              const MomentSlots<T>& slots, Statistic statistic) {
  double scale = 1.0;
  if constexpr (sizeof(T) == 8) {
    double largest = 0.0;
#pragma unroll
    for (int k = 0; k < Elements::packs; ++k) {
#pragma unroll
      for (int j = 0; j < Elements::unit; ++j) largest = fmax(largest, fabs(elements.pack[k][j]));
    }
    largest =
        reduce<threads>(largest, slots.largest, [](double a, double b) { return fmax(a, b); });
    scale = scale_for<T>(largest);
  }
  double_double total_sum{0.0, 0.0};
  double_double mean{0.0, 0.0};
  if (statistic.centred()) {
    running_sums<T> sum{};
#pragma unroll
    for (int k = 0; k < Elements::packs; ++k) {
      running_sums<T> of_pack{};
#pragma unroll
      for (int j = 0; j < Elements::unit; ++j) {
        of_pack.add_term(static_cast<double>(widened(elements.pack[k][j])) * scale);
      }
      sum = combine(sum, of_pack);
    }
    total_sum = reduce<threads>(sum, slots.sums).total();
    mean = count.quotient(total_sum);
#pragma unroll
    for (int k = 0; k < Elements::packs; ++k) forget_widened(elements.pack[k]);
  }
  running_sums<T> squares{};
#pragma unroll
  for (int k = 0; k < Elements::packs; ++k) {
    running_sums<T> of_pack{};
#pragma unroll
    for (int j = 0; j < Elements::unit; ++j) {
      const double value = static_cast<double>(widened(elements.pack[k][j])) * scale;
      double deviation = value - mean.high;
      if constexpr (sizeof(T) == 8) deviation -= mean.low;
      if (Elements::whole_packs || elements.holds(k, j)) of_pack.add_square(deviation);
    }
    if (!Elements::whole_packs || elements.holds(k, 0)) squares = combine(squares, of_pack);
  }
  const double total_squares = reduce<threads>(squares, slots.squares).total().high;
  return {count.value, total_sum, total_squares, scale};
}

}  // namespace normdrop::NORMDROP_DEVICE
