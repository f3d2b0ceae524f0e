// Every half-precision number, and every place between two of them where rounding changes.
#include <cmath>
#include <string>

#include "cuda/emulation/half.h"
#include "harness.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

template <class T>
std::string shown(std::uint32_t bits) {
  return std::to_string(bits) + ", which is " +
         std::to_string(to_double(T{static_cast<std::uint16_t>(bits)}));
}

template <class T>
void require_bits(double value, std::uint32_t bits) {
  const std::uint32_t from_double = rounded<T>(value).bits;
  require(from_double == bits, std::to_string(value) + " as double became " +
                                   shown<T>(from_double) + " and not " + shown<T>(bits));
  const auto as_float = static_cast<float>(value);
  if (as_float != value) return;
  require(rounded<T>(as_float).bits == bits, std::to_string(value) + " as float");
}

// From 0 to the largest finite number `last` and beyond; `sign` is the sign bit or 0.
template <class T>
void check_between(std::uint32_t last, std::uint32_t sign) {
  for (std::uint32_t lower = 0; lower <= last; ++lower) {
    const double value = to_double(T{static_cast<std::uint16_t>(lower | sign)});
    require_bits<T>(value, lower | sign);
    const double before = to_double(T{static_cast<std::uint16_t>((lower - (lower > 0)) | sign)});
    const double after = to_double(T{static_cast<std::uint16_t>((lower + 1) | sign)});
    const double step = lower < last ? after - value : value - before;
    const double middle = value + step / 2;
    require_bits<T>(middle, (lower + lower % 2) | sign);
    require_bits<T>(std::nextafter(middle, value), lower | sign);
    require_bits<T>(std::nextafter(middle, 2 * middle), (lower + 1) | sign);
  }
}

template <class T>
void check_all(std::uint32_t last) {
  check_between<T>(last, 0);
  check_between<T>(last, 0x8000u);
  require_bits<T>(INFINITY, last + 1);
  require_bits<T>(-1e308, (last + 1) | 0x8000u);
  require_bits<T>(5e-324, 0);
  for (std::uint32_t bits = last + 2; bits < 0x8000u; ++bits) {
    const double nan = to_double(T{static_cast<std::uint16_t>(bits)});
    require(std::isnan(nan) && std::isnan(to_double(rounded<T>(nan))),
            "NaN " + std::to_string(bits));
  }
}

}  // namespace

std::vector<Case> number_cases() {
  return {{"right/numbers/float16", [] { check_all<float16>(0x7BFFu); }},
          {"right/numbers/bfloat16", [] { check_all<bfloat16>(0x7F7Fu); }}};
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
