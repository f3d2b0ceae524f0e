// A weight and a bias for each element of a run, or none. Where there is none, one pack that changes
// no bit is read over and over: an instruction for each pack instead of a loop more.
#pragma once

#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {

// 1 for weights; for biases -0, which, added, keeps even the sign of a 0.
template <class W>
inline constexpr W packs_of_nothing[2][pack_size] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    {-W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0},
     -W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0}, -W{0}}};

template <class W>
class RunParameter {
 public:
  RunParameter(const W* values, const W* otherwise)
      : values_(values ? values : otherwise), all_(values ? -1 : 0) {}

  template <class Extent>
  NORMDROP_LAMBDA_INLINE pack pack_at(std::int64_t i, Extent extent) const {
    return load(values_ + (i & all_), extent);
  }
  template <class Extent>
  NORMDROP_LAMBDA_INLINE float_pack float_pack_at(std::int64_t i, Extent extent) const {
    return load_float(values_ + (i & all_), extent);
  }
  template <class Extent>
  NORMDROP_LAMBDA_INLINE float_pack times(float_pack g, std::int64_t i, Extent extent) const {
    return g * float_pack_at(i, extent);
  }
  template <class Extent>
  NORMDROP_LAMBDA_INLINE pack times(pack g, std::int64_t i, Extent extent) const {
    return g * pack_at(i, extent);
  }

 private:
  const W* values_;
  std::int64_t all_;  // bits of an index
};

template <class W>
NORMDROP_INLINE RunParameter<W> run_weight(const W* weight) {
  return {weight, packs_of_nothing<W>[0]};
}
template <class W>
NORMDROP_INLINE RunParameter<W> run_bias(const W* bias) {
  return {bias, packs_of_nothing<W>[1]};
}

}  // namespace normdrop::NORMDROP_ISA
