// float16 and bfloat16 for the driver: rounded and widened by arithmetic on doubles, unlike the
// kernels, which turn bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "ops/dtype.h"

namespace normdrop::driver {

template <int mantissa_bits, int smallest_exponent>
class SmallFloat {
 public:
  SmallFloat() = default;
  explicit SmallFloat(double value) : bits_(bits_of(value)) {}
  operator double() const { return values()[bits_]; }
  SmallFloat& operator+=(double other) { return *this = SmallFloat(*this + other); }
  SmallFloat& operator*=(double other) { return *this = SmallFloat(*this * other); }

 private:
  static constexpr int bias = 1 - smallest_exponent;
  static constexpr int infinity = (2 * bias + 1) << mantissa_bits;

  // To the nearest, ties to even, as the environment rounds: a number is a multiple of its unit.
  static std::uint16_t bits_of(double value) {
    const int sign = std::signbit(value) ? 0x8000 : 0;
    if (std::isnan(value)) return static_cast<std::uint16_t>(sign | infinity | 1);
    const double magnitude = std::abs(value);
    const int exponent =
        magnitude < std::ldexp(1.0, smallest_exponent) ? smallest_exponent : std::ilogb(magnitude);
    if (exponent > bias) return static_cast<std::uint16_t>(sign | infinity);
    // One more bit of the mantissa carries into the exponent, and at last into infinity.
    const double units = std::nearbyint(std::ldexp(magnitude, mantissa_bits - exponent));
    const int number = ((exponent - smallest_exponent) << mantissa_bits) + static_cast<int>(units);
    return static_cast<std::uint16_t>(sign | number);
  }

  static double value_of(int bits) {
    const int number = bits & 0x7fff;
    const double sign = bits >= 0x8000 ? -1.0 : 1.0;
    if (number > infinity) return NAN;
    if (number == infinity) return sign * INFINITY;
    const int field = number >> mantissa_bits;
    const int exponent = field == 0 ? smallest_exponent : field - bias;
    const int hidden = field == 0 ? 0 : 1 << mantissa_bits;
    const int mantissa = (number & ((1 << mantissa_bits) - 1)) + hidden;
    return sign * std::ldexp(mantissa, exponent - mantissa_bits);
  }

  static const std::vector<double>& values() {
    static const std::vector<double> all = [] {
      std::vector<double> every;
      for (int bits = 0; bits < 65536; ++bits) every.push_back(value_of(bits));
      return every;
    }();
    return all;
  }

  std::uint16_t bits_;
};

using Float16 = SmallFloat<10, -14>;
using BFloat16 = SmallFloat<7, -126>;

template <class T>
inline constexpr DType dtype_of = std::is_same_v<T, double>     ? DType::float64
                                  : std::is_same_v<T, Float16>  ? DType::float16
                                  : std::is_same_v<T, BFloat16> ? DType::bfloat16
                                                                : DType::float32;

// What elements are computed in.
template <class T>
using Arithmetic = std::conditional_t<sizeof(T) == 8, double, float>;

}  // namespace normdrop::driver
