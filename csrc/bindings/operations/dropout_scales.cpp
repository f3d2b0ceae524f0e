// 2^32 / threshold, correctly rounded to two precisions.
#include "bindings/operations/dropout_scales.h"

#include <cmath>
#include <cstring>

#include "cpu/parallel.h"

namespace normdrop {

Scales scales_of(std::uint64_t threshold) {
  if (threshold == 0) return {0.0, 0.0};
  const cpu::DefaultFloatEnvironment environment;
  const double divisor = static_cast<double>(threshold);
  const double wide = 0x1p32 / divisor;
  const double remainder = std::fma(-wide, divisor, 0x1p32);
  // Rounding to odd first makes the second rounding, to float32, that of the exact quotient.
  double odd = wide;
  if (remainder != 0.0) {
    if (remainder < 0.0) odd = std::nextafter(odd, 0.0);
    std::uint64_t bits;
    std::memcpy(&bits, &odd, sizeof bits);
    bits |= 1;
    std::memcpy(&odd, &bits, sizeof bits);
  }
  return {static_cast<double>(static_cast<float>(odd)), wide};
}

// Calls come with the same p again and again.
double dropout_scale(std::uint64_t threshold, DType dtype) {
  static thread_local std::uint64_t latest = 0;
  static thread_local Scales scales{0.0, 0.0};
  if (threshold != latest) {
    scales = scales_of(threshold);
    latest = threshold;
  }
  return dtype == DType::float64 ? scales.wide : scales.narrow;
}

}  // namespace normdrop
