// float16, bfloat16 and the bits of numbers, without the toolkit's headers.
#pragma once

#include <bit>
#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

struct float16 {
  std::uint16_t bits;
};

struct bfloat16 {
  std::uint16_t bits;
};

inline std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
inline std::uint64_t bits_of(double value) { return std::bit_cast<std::uint64_t>(value); }
inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline double double_of(std::uint64_t bits) { return std::bit_cast<double>(bits); }

namespace emulation {

// `value` to the nearest number of that many exponent and mantissa bits, to even on a tie. Every
// float is a double, so that both are rounded once.
template <int exponent_bits, int mantissa_bits>
std::uint16_t rounded_bits(double value) {
  constexpr int bias = (1 << (exponent_bits - 1)) - 1;
  constexpr std::uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  const std::uint64_t bits = bits_of(value);
  const auto sign = static_cast<std::uint32_t>(bits >> 63 << (exponent_bits + mantissa_bits));
  const std::uint64_t mantissa = bits & ((std::uint64_t{1} << 52) - 1);
  const int exponent = static_cast<int>(bits >> 52 & 0x7FFu) - 1023;
  if (value != value) return static_cast<std::uint16_t>(sign | infinity | infinity >> 1);
  if (exponent > bias) return static_cast<std::uint16_t>(sign | infinity);
  const int below_normal = exponent < 1 - bias ? 1 - bias - exponent : 0;
  const int dropped = 52 - mantissa_bits + below_normal;
  if (dropped > 54) return static_cast<std::uint16_t>(sign);
  const std::uint64_t significand = mantissa | std::uint64_t{1} << 52;
  const std::uint64_t kept = significand >> dropped;
  const std::uint64_t rest = significand - (kept << dropped);
  const std::uint64_t half = std::uint64_t{1} << (dropped - 1);
  const bool up = rest > half || (rest == half && (kept & 1u) != 0);
  // `kept` carries its leading one into the exponent, and so does rounding up.
  const int scaled_exponent = below_normal > 0 ? 0 : exponent + bias - 1;
  const auto magnitude = (static_cast<std::uint32_t>(scaled_exponent) << mantissa_bits) +
                         static_cast<std::uint32_t>(kept) + (up ? 1u : 0u);
  return static_cast<std::uint16_t>(sign | magnitude);
}

template <class T>
struct Rounded {
  static T from(double value) { return static_cast<T>(value); }
};

template <>
struct Rounded<float16> {
  static float16 from(double value) { return {rounded_bits<5, 10>(value)}; }
};

template <>
struct Rounded<bfloat16> {
  static bfloat16 from(double value) { return {rounded_bits<8, 7>(value)}; }
};

}  // namespace emulation

inline float to_float(float value) { return value; }

inline float to_float(bfloat16 value) { return float_of(std::uint32_t{value.bits} << 16); }

inline float to_float(float16 value) {
  const std::uint32_t sign = std::uint32_t{value.bits & 0x8000u} << 16;
  const std::uint32_t magnitude = value.bits & 0x7FFFu;
  constexpr std::uint32_t infinity = 0x7C00u;
  if (magnitude >= infinity) return float_of(sign | 0x7F800000u | (magnitude - infinity) << 13);
  // Moved into place the exponent is 112 too small; the product restores it, subnormal or not.
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

template <class T>
double to_double(T value) {
  return to_float(value);
}

inline double to_double(double value) { return value; }

template <class T>
T rounded(float value) {
  return emulation::Rounded<T>::from(value);
}

template <class T>
T rounded(double value) {
  return emulation::Rounded<T>::from(value);
}

}  // namespace normdrop::NORMDROP_DEVICE
