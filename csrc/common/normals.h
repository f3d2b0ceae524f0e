// Normal numbers from pairs of words (Box, Muller, "A note on the generation of random normal
// deviates", 1958):
//   normals (2 k, 2 k + 1) = sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v),   u, v = (word + 1/2) / 2^32
// of the words 2 k and 2 k + 1. Plain sums, products and a quotient of doubles in a fixed order, none
// of them fused, so that every backend gets the same bits; the caller takes the square root. The
// polynomials are near-minimax: errors below 2^-58 of each result.
#pragma once

#include <cstdint>

namespace normdrop::normals {

inline constexpr std::uint64_t bits_of_one = std::uint64_t{1} << 52;  // of an exponent

// An integer below 2^52 as a double, exactly, by arithmetic that vectors have.
static constexpr double real_of(std::uint64_t integer) {
  return __builtin_bit_cast(double, integer | 0x4330000000000000u) - 0x1p52;
}

// -2 ln((word + 1/2) / 2^32), which is positive.
static constexpr double squared_radius(std::uint32_t word) {
  // (word + 1/2) = m 2^(exponent - 1), m from sqrt(1/2) to sqrt(2); m - 1 = f is exact.
  const auto bits = __builtin_bit_cast(std::uint64_t, real_of(word) + 0.5);
  const std::uint64_t exponent = (bits - 0x3FE6A09E667F3BCDu + bits_of_one) >> 52;
  const double f = __builtin_bit_cast(double, bits - exponent * bits_of_one + bits_of_one) - 1.0;
  const double k = real_of(exponent) - 33.0;
  // ln(1 + f) = 2 atanh(s) = f - s (f - r)
  const double s = f / (2.0 + f);
  const double z = s * s;
  double r = 0.14616449685043406;
  r = r * z + 0.15331721600556042;
  r = r * z + 0.18182889125261723;
  r = r * z + 0.2222221113479508;
  r = r * z + 0.28571428625975487;
  r = r * z + 0.39999999999899505;
  r = r * z + 0.666666666666667;
  r = r * z;
  constexpr double ln_2_high = 0x1.62e42fefa2p-1;  // times k: exact
  constexpr double ln_2_low = 0x1.9ef35793c7673p-41;
  return -2.0 * (k * ln_2_high + (f - (s * (f - r) - k * ln_2_low)));
}

struct Direction {
  double cosine;
  double sine;
};

// Of the angle 2 pi (word + 1/2) / 2^32.
static constexpr Direction direction(std::uint32_t word) {
  // The nearest quarter of a turn, and what is left: from -1/8 to 1/8 of a turn.
  const std::uint64_t moved = std::uint64_t{word} + (1u << 29);
  const std::uint64_t quarter = moved >> 30;
  const double rest = real_of(moved & 0x3FFFFFFFu) - 536870911.5;
  constexpr double unit_high = 0x1.921fbp-30;  // 2 pi / 2^32; times rest: exact
  constexpr double unit_low = 0x1.5110b4611a626p-52;
  const double high = rest * unit_high;
  const double low = rest * unit_low;
  const double angle = high + low;
  const double z = angle * angle;
  double s = 1.5918129294866608e-10;
  s = s * z - 2.5051131845003624e-08;
  s = s * z + 2.755731610255244e-06;
  s = s * z - 0.00019841269836758574;
  s = s * z + 0.008333333333330948;
  s = s * z - 0.16666666666666666;
  const double sine = high + (low + angle * (z * s));
  double c = -1.1382632425521717e-11;
  c = c * z + 2.08761462684032e-09;
  c = c * z - 2.7557317271729793e-07;
  c = c * z + 2.480158729876569e-05;
  c = c * z - 0.0013888888888887398;
  c = c * z + 0.041666666666666664;
  const double cosine = 1.0 - (0.5 * z - z * z * c);
  // Turned by the quarters: exchanged by odd ones, and their signs.
  const bool odd = (quarter & 1u) != 0;
  const auto first = __builtin_bit_cast(std::uint64_t, odd ? sine : cosine);
  const auto second = __builtin_bit_cast(std::uint64_t, odd ? cosine : sine);
  return {__builtin_bit_cast(double, first ^ ((quarter + 1u) & 2u) << 62),
          __builtin_bit_cast(double, second ^ (quarter & 2u) << 62)};
}

}  // namespace normdrop::normals
