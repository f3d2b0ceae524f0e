// Batch norm of x (batch, channels, inner) with statistics as passed in:
//   y = (x - mean) * inv_std * weight + bias
// from a mean and a variance (inference), or from a mean and inv_std (the second half of a forward
// pass whose statistics are of more than this x).
#include "cpu/engines/batch_norm.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

// A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training. Chosen
// after the division, so that a loop over channels is one of vectors.
NORMDROP_INLINE Normaliser running_normaliser(double mean, double var, double eps) {
  const double_double sum = two_sum(var, eps);
  const double_double inv_std = inverse_sqrt(sum);
  const bool is_zero = sum.high == 0.0;
  return {{mean, 0.0}, {is_zero ? 0.0 : inv_std.high, is_zero ? 0.0 : inv_std.low}, var, 1.0};
}

// inv_std is inf where all elements of a channel were equal and eps 0: the output is the bias.
Normaliser given_normaliser(const BatchNormApply& a, std::int64_t channel) {
  const double inv_std = a.inv_std[channel];
  const double usable = inv_std == __builtin_inf() ? 0.0 : inv_std;
  return {{a.mean[channel], 0.0}, {usable, 0.0}, 0.0, 1.0};
}

}  // namespace

void batch_norm_inference(const BatchNormInference& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormInference& a) {
    for_dtype(a.dtype, [&](auto element) {
      apply_normalisers<decltype(element)>(a, [mean = a.mean, var = a.var, eps = a.eps](
                                                  std::int64_t channel) NORMDROP_LAMBDA_INLINE {
        return running_normaliser(mean[channel], var[channel], eps);
      });
    });
  });
}

void batch_norm_apply(const BatchNormApply& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormApply& a) {
    for_dtype(a.dtype, [&](auto element) {
      apply_normalisers<decltype(element)>(
          a, [&](std::int64_t channel) { return given_normaliser(a, channel); });
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
