// Batch norm of x (batch, channels, inner) with statistics as passed in:
//   y = (x - mean) * inv_std * weight + bias
// from a mean and a variance (inference), or from a mean and inv_std (the second half of a forward
// pass whose statistics are of more than this x).
#include "cpu/engines/batch_norm.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

Normaliser running_normaliser(const BatchNormInference& a, std::int64_t channel) {
  const double_double sum = two_sum(a.var[channel], a.eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  const double_double inv_std = sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
  return {{a.mean[channel], 0.0}, inv_std, a.var[channel], 1.0};
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
      apply_normalisers<decltype(element)>(
          a, [&](std::int64_t channel) { return running_normaliser(a, channel); });
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
