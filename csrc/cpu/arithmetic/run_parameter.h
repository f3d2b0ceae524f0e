// The weights or the biases of a run's elements, or as many numbers that change no bit where there are
// none: a loop that reads them costs less than a copy of every loop that does not.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {

// For weights 1; for biases -0, which, added, keeps even the sign of a 0.
template <class W>
class RunParameter {
 public:
  RunParameter(const W* values, W otherwise, std::int64_t length)
      : filled_(values ? 0 : length), values_(values ? values : filled_.data()) {
    for (std::int64_t i = 0; values == nullptr && i < length; ++i) filled_[i] = otherwise;
  }
  const W* data() const { return values_; }

 private:
  Scratch<W> filled_;
  const W* values_;
};

template <class W>
class RunWeight : public RunParameter<W> {
 public:
  RunWeight(const W* weight, std::int64_t length) : RunParameter<W>(weight, W{1}, length) {}
};

template <class W>
class RunBias : public RunParameter<W> {
 public:
  RunBias(const W* bias, std::int64_t length) : RunParameter<W>(bias, -W{}, length) {}
};

}  // namespace normdrop::NORMDROP_ISA
