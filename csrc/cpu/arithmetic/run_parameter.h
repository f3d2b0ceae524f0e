// The weights or the biases of a run's elements, or numbers that change no bit where there are none: a
// loop that reads them costs less than a copy of every loop that does not.
#pragma once

#include "cpu/arithmetic/runs.h"

namespace normdrop::NORMDROP_ISA {

// Where there are none, one piece of numbers serves all elements: a run is then walked in pieces.
// For weights they are 1; for biases -0, which, added, keeps even the sign of a 0.
template <class T>
class RunParameter {
 public:
  static constexpr std::int64_t piece = chunk_elements<T>;

  RunParameter(const wide<T>* values, wide<T> otherwise, std::int64_t length)
      : values_(values), filled_(values ? 0 : (length < piece ? length : piece)) {
    const std::int64_t count = length < piece ? length : piece;
    for (std::int64_t i = 0; values == nullptr && i < count; ++i) filled_[i] = otherwise;
  }

  // Those of the elements from `begin` on; with none, of as many as a piece.
  const wide<T>* from(std::int64_t begin) const {
    return values_ != nullptr ? values_ + begin : filled_.data();
  }
  bool is_given() const { return values_ != nullptr; }

 private:
  const wide<T>* values_;
  Scratch<wide<T>> filled_;
};

template <class T>
class RunWeight : public RunParameter<T> {
 public:
  RunWeight(const wide<T>* weight, std::int64_t length)
      : RunParameter<T>(weight, wide<T>{1}, length) {}
};

template <class T>
class RunBias : public RunParameter<T> {
 public:
  RunBias(const wide<T>* bias, std::int64_t length) : RunParameter<T>(bias, -wide<T>{}, length) {}
};

}  // namespace normdrop::NORMDROP_ISA
