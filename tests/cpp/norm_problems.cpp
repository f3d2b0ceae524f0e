#include "norm_problems.h"

namespace normdrop::driver {

const char* text(Data data) {
  switch (data) {
    case Data::far_from_zero:
      return ", far from zero";
    case Data::infinite:
      return ", infinite";
    case Data::extreme:
      return ", extreme";
    default:
      return "";
  }
}

std::string text(const Shape& shape) {
  std::string text = "(";
  text += std::to_string(shape.outer) + ", " + std::to_string(shape.middle) + ", ";
  return text + std::to_string(shape.inner) + ")";
}

std::vector<std::int64_t> around_powers_of_two(int first, int last) {
  std::vector<std::int64_t> all;
  for (int k = first; k <= last; ++k) {
    const std::int64_t power = std::int64_t{1} << k;
    all.insert(all.end(), {power - 1, power, power + 1});
  }
  return all;
}

// The finaliser of SplitMix64 (Steele, Lea, Flood, 2014).
double noise(std::uint64_t stream, std::int64_t index) {
  std::uint64_t z = (static_cast<std::uint64_t>(index) + (stream << 48)) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-52 - 1.0;
}

}  // namespace normdrop::driver
