// From a set's sum of squares to what a normalising pass needs of it and what a caller is told.
#pragma once

#include "cpu/arithmetic/double_double.h"

namespace normdrop::NORMDROP_ISA {

// What a normalising pass needs: the mean and 1 / sqrt(var + eps), each as a sum of two doubles,
// of the elements times `scale`.
struct Normaliser {
  double_double mean;
  double_double inv_std;
  double var;
  double scale;
};

// 1 / sqrt(v), with one Newton step for the part that a double cannot hold.
NORMDROP_INLINE double_double inverse_sqrt(double_double v) {
  const double guess = 1.0 / __builtin_sqrt(v.high);
  const double square = v.high * guess;
  const double residual = __builtin_fma(-square, guess, 1.0) -
                          (__builtin_fma(v.high, guess, -square) + v.low * guess) * guess;
  const double correction = 0.5 * guess * residual;
  return {guess, correction * 0.0 == 0.0 ? correction : 0.0};
}

NORMDROP_INLINE Normaliser normaliser(double_double mean, double sum_of_squares, double count,
                                      double eps, double scale) {
  const double scaled_eps = eps * scale * scale;
  const double_double var = divide({sum_of_squares, 0.0}, count);
  if (var.high == 0.0 || !is_finite(scaled_eps)) {
    // A constant run, whose x - mean is exactly 0 and must stay 0 with eps = 0 too; or an eps
    // beside which the variance is nothing.
    const double_double inv_std = eps > 0.0 ? inverse_sqrt({eps, 0.0}) : double_double{0.0, 0.0};
    return {mean, {inv_std.high / scale, inv_std.low / scale}, var.high, scale};
  }
  const double_double sum = two_sum(var.high, scaled_eps);
  return {mean, inverse_sqrt({sum.high, sum.low + var.low}), var.high, scale};
}

// Statistics as the caller sees them: of the unscaled elements.
NORMDROP_INLINE double reported_mean(const Normaliser& n) {
  return (n.mean.high + n.mean.low) / n.scale;
}
NORMDROP_INLINE double reported_var(const Normaliser& n) { return n.var / n.scale / n.scale; }
NORMDROP_INLINE double reported_inv_std(const Normaliser& n) {
  if (n.inv_std.high == 0.0 && n.var == 0.0) return __builtin_inf();
  return (n.inv_std.high + n.inv_std.low) * n.scale;
}

}  // namespace normdrop::NORMDROP_ISA
