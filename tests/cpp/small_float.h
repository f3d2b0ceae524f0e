// The 16-bit dtypes, as this driver reads and writes them: numbers by their definition, without any
// code of the kernels. A double is rounded to nearest, ties to even.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "ops/dtype.h"

namespace normdrop::driver {

template <int exponent_bits>
class SmallFloat {
 public:
  SmallFloat() = default;
  explicit SmallFloat(double value) : bits_(bits_of(value)) {}

  explicit operator double() const {
    const int exponent = bits_ >> fraction_bits & exponent_mask;
    const int fraction = bits_ & ((1 << fraction_bits) - 1);
    const double sign = (bits_ & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == exponent_mask) return fraction == 0 ? sign * INFINITY : NAN;
    const int significand = exponent == 0 ? fraction : fraction + (1 << fraction_bits);
    return sign * std::ldexp(significand, (exponent == 0 ? 1 : exponent) - bias - fraction_bits);
  }

 private:
  static constexpr int fraction_bits = 15 - exponent_bits;
  static constexpr int exponent_mask = (1 << exponent_bits) - 1;
  static constexpr int bias = exponent_mask / 2;

  static std::uint16_t bits_of(double value) {
    const int sign = std::signbit(value) ? 0x8000 : 0;
    const int infinity = exponent_mask << fraction_bits;
    if (std::isnan(value)) return static_cast<std::uint16_t>(infinity + 1);
    if (std::isinf(value)) return static_cast<std::uint16_t>(sign + infinity);
    const double magnitude = std::abs(value);
    const int exponent = magnitude == 0.0 ? 1 - bias : std::max(std::ilogb(magnitude), 1 - bias);
    // A significand that is rounded up to the next power of two carries into the exponent.
    const auto units =
        static_cast<std::int64_t>(std::nearbyint(std::ldexp(magnitude, fraction_bits - exponent)));
    const std::int64_t bits =
        units + (static_cast<std::int64_t>(exponent + bias - 1) << fraction_bits);
    return static_cast<std::uint16_t>(sign + std::min<std::int64_t>(bits, infinity));
  }

  std::uint16_t bits_;
};

using Float16 = SmallFloat<5>;
using BFloat16 = SmallFloat<8>;

template <class T>
inline constexpr DType dtype_of = std::is_same_v<T, double>     ? DType::float64
                                  : std::is_same_v<T, Float16>  ? DType::float16
                                  : std::is_same_v<T, BFloat16> ? DType::bfloat16
                                                                : DType::float32;

// What elements are computed in.
template <class T>
using Arithmetic = std::conditional_t<sizeof(T) == 8, double, float>;

}  // namespace normdrop::driver
