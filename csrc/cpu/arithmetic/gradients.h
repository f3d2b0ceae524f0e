// The gradient of normalised elements, in double and along a line in single precision:
//   grad_x = (g - mean_g - x_hat * mean_gx) * factor,  x_hat = (x - mean) * inv_std
#pragma once

#include "cpu/simd/simd_float.h"

namespace normdrop::NORMDROP_ISA {

NORMDROP_INLINE pack x_hat_of(pack x, pack mean, pack inv_std) { return (x - mean) * inv_std; }

NORMDROP_INLINE pack centred_gradient(pack g, pack x_hat, pack mean_g, pack mean_gx) {
  return (g - mean_g) - x_hat * mean_gx;
}

// Here near = x - centre, and offset is what the centre lacks of the mean; see float_backward.h.
NORMDROP_INLINE float_pack x_hat_of(float_pack near, float_pack inv_std, float_pack offset) {
  return multiply_add(near, inv_std, offset);
}

NORMDROP_INLINE float_pack gradient_on_line(float_pack g, float_pack near, float_pack slope_g,
                                            float_pack slope_x, float_pack shift) {
  return multiply_add(g, slope_g, multiply_add(near, slope_x, shift));
}

// What turns a set's sums of g and of g * x_hat into the means that its gradient subtracts: 1 / count
// each; 0 where the statistics are constants, and for g where no mean was subtracted.
struct MeanFactors {
  double g;
  double gx;
  bool are_zero() const { return g == 0.0 && gx == 0.0; }
  // Where no mean was subtracted a sum of g that is not finite must not count.
  double mean_g(double sum) const { return g == 0.0 && gx != 0.0 ? 0.0 : sum * g; }
  double mean_gx(double sum) const { return sum * gx; }
};

}  // namespace normdrop::NORMDROP_ISA
