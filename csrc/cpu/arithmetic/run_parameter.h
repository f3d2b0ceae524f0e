// The weights or the biases of a run's elements, or numbers that change no bit where there are none: a
// loop that reads them costs less than a copy of every loop that does not.
#pragma once

#include "cpu/arithmetic/runs.h"

namespace normdrop::NORMDROP_ISA {

template <class W>
struct Repeated {
  static constexpr std::int64_t length = 256;
  alignas(64) W values[length];
  constexpr explicit Repeated(W value) : values{} {
    for (W& one : values) one = value;
  }
};
template <class W>
inline constexpr Repeated<W> ones{W{1}};
// Added, they keep even the sign of a 0.
template <class W>
inline constexpr Repeated<W> minus_zeros{-W{}};

// Where there are none, one piece of numbers serves all elements: a run is then walked in pieces. Short
// runs share constants, since memory would take as long as a small call.
template <class T>
class RunParameter {
 public:
  using Wide = wide<T>;
  static constexpr std::int64_t piece = chunk_elements<T>;

  RunParameter(const Wide* values, const Repeated<Wide>& otherwise, std::int64_t length)
      : values_(values),
        filled_count_(values || length <= otherwise.length ? 0 : (length < piece ? length : piece)),
        filled_(filled_count_),
        absent_(filled_count_ > 0 ? filled_.data() : otherwise.values) {
    for (std::int64_t i = 0; i < filled_count_; ++i) filled_[i] = otherwise.values[0];
  }

  // Those of the elements from `begin` on; with none, of as many as a piece.
  const Wide* from(std::int64_t begin) const { return values_ ? values_ + begin : absent_; }
  bool is_given() const { return values_ != nullptr; }

 private:
  const Wide* values_;
  std::int64_t filled_count_;
  Scratch<Wide> filled_;
  const Wide* absent_;
};

template <class T>
class RunWeight : public RunParameter<T> {
 public:
  RunWeight(const wide<T>* weight, std::int64_t length)
      : RunParameter<T>(weight, ones<wide<T>>, length) {}
};

template <class T>
class RunBias : public RunParameter<T> {
 public:
  RunBias(const wide<T>* bias, std::int64_t length)
      : RunParameter<T>(bias, minus_zeros<wide<T>>, length) {}
};

}  // namespace normdrop::NORMDROP_ISA
