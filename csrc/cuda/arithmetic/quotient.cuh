// Integers divided by a number that is known at launch.
#pragma once

#include <cstdint>

#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

// Division by a number that is known at launch: a multiplication, where the dividend has 31 bits
// (Granlund, Montgomery 1994).
class Quotient {
 public:
  explicit Quotient(std::int64_t divisor = 1) : divisor_(divisor) {
    if (divisor >> 31 != 0) return;
    while (std::int64_t{1} << (shift_ - 31) < divisor) ++shift_;
    const std::uint64_t power = std::uint64_t{1} << shift_;
    const auto d = static_cast<std::uint64_t>(divisor);
    factor_ = static_cast<std::uint32_t>((power + d - 1) / d);
  }
  __device__ __forceinline__ std::int64_t of(std::int64_t dividend) const {
    if (dividend >> 31 != 0 || factor_ == 0) return dividend / divisor_;
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(dividend) * factor_ >> shift_);
  }
  __host__ __device__ std::int64_t divisor() const { return divisor_; }

 private:
  std::int64_t divisor_;
  std::uint32_t factor_ = 0;  // ceil(2^shift / divisor), or 0: not at hand
  int shift_ = 31;
};

}  // namespace normdrop::NORMDROP_DEVICE
