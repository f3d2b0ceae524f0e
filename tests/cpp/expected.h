// What an output must hold: near the plain loop's values after the first call of a problem, and
// after every other call of it the bits of the first.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "buffers.h"
#include "small_float.h"

namespace normdrop::driver {

// Loose: the last digits are other tests' work. Values are of the order of 1, and a wrong one is
// another random number or a NaN. Half types: the rounding of the output, half a unit of 11 or 8
// bits, and a thousandth of it for what it is rounded from.
template <class T>
inline constexpr double tolerance = sizeof(T) == 8               ? 1e-9
                                    : sizeof(T) == 4             ? 1e-4
                                    : std::is_same_v<T, Float16> ? 0x1.004p-11
                                                                 : 0x1.004p-8;

template <class T>
class Expected {
 public:
  std::vector<double> values;  // of the plain loop

  void check(Case& one, const char* name, Array<T>& output, double relative_error) {
    output.check_surroundings(one, name);
    const bool first = bits_.empty();
    bits_.resize(values.size());
    bool good = true;
    for (std::int64_t i = 0; i < output.rows(); ++i) {
      const T* row = output.row(i);
      T* bits = bits_.data() + i * output.length();
      const auto bytes = static_cast<std::size_t>(output.length()) * sizeof(T);
      if (first) {
        std::memcpy(static_cast<void*>(bits), row, bytes);
        good = good && is_near(one, name, i, output, relative_error);
      } else if (std::memcmp(row, bits, bytes) != 0) {
        good = good && is_same(one, name, i, output);
      }
    }
  }

 private:
  bool is_near(Case& one, const char* name, std::int64_t i, const Array<T>& output,
               double relative_error) const {
    for (std::int64_t k = 0; k < output.length(); ++k) {
      const T got = output.row(i)[k];
      const double want = values[static_cast<std::size_t>(i * output.length() + k)];
      if (near(got, want, relative_error)) continue;
      report(one, name, i, k, got, want, "");
      return false;
    }
    return true;
  }
  bool is_same(Case& one, const char* name, std::int64_t i, const Array<T>& output) const {
    for (std::int64_t k = 0; k < output.length(); ++k) {
      const T got = output.row(i)[k];
      const T before = bits_[static_cast<std::size_t>(i * output.length() + k)];
      if (same(got, before)) continue;
      report(one, name, i, k, got, static_cast<double>(before), " as in the first call");
      return false;
    }
    return true;
  }
  static void report(Case& one, const char* name, std::int64_t i, std::int64_t k, T got,
                     double want, const char* why) {
    one.fail("%s: row %lld element %lld is %.9g%s, not %.9g%s", name, static_cast<long long>(i),
             static_cast<long long>(k), static_cast<double>(got),
             is_unwritten(got) ? " (unwritten)" : "", want, why);
  }
  static bool is_unwritten(T value) {
    char unwritten[sizeof(T)];
    std::memset(unwritten, unwritten_byte, sizeof unwritten);
    return sizeof(T) > 1 && std::memcmp(&value, unwritten, sizeof unwritten) == 0;
  }
  static bool near(T value, double want, double relative_error) {
    const double got = static_cast<double>(value);
    if (std::isnan(want)) return std::isnan(got) && !is_unwritten(value);
    return got == want || std::abs(got - want) <= relative_error * (1.0 + std::abs(want));
  }
  static bool same(T value, T before) {
    if (std::isnan(static_cast<double>(before))) return near(value, NAN, 0.0);
    return std::memcmp(&value, &before, sizeof value) == 0;
  }

  std::vector<T> bits_;
};

}  // namespace normdrop::driver
