// Backward of batch norm, of x (batch, channels, inner):
//   grad_x = inv_std * weight * (grad_output - mean(grad_output) - x_hat * mean(grad_output * x_hat))
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// Frozen statistics leave the two means out.
// inner > 1 (NCHW): some neighbouring channels at a time; slots of channels are tasks where channels
//   are few (engines/channels_backward.h). inner == 1 (NHWC, 2-D): engines/columns_backward.h.
#include "cpu/engines/batch_norm_gradient.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

MeanFactors mean_factors_of(const BatchNormBackward& a) {
  if (a.frozen) return {0.0, 0.0};
  const double reciprocal = 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
  return {reciprocal, reciprocal};
}

template <class T>
void backward(const BatchNormBackward& a) {
  if (a.batch == 0 || a.inner == 0 || a.channels == 0) {
    fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<wide<T>*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  const ParameterGradients<T> report(a);
  if (a.inner == 1) {
    return ColumnsBackward<T>(columns_gradient<T>(a, mean_factors_of(a))).run(report);
  }
  using Gradients = ChannelGradients<T, BatchNormBackward, ParameterGradients<T>>;
  ChannelsBackward<T, Gradients>(Gradients(a, mean_factors_of(a), report)).run();
}

}  // namespace

void batch_norm_backward(const BatchNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.channels, [](const BatchNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
