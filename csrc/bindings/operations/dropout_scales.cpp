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

}  // namespace normdrop
