// Backward of batch norm, of x (batch, channels, inner):
//   grad_x = inv_std * weight * (grad_output - mean(grad_output) - x_hat * mean(grad_output * x_hat))
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// Frozen statistics leave the two means out.
// inner > 1 (NCHW): some neighbouring channels at a time; slots of channels are tasks where channels
//   are few (engines/channels_backward.h). inner == 1 (NHWC, 2-D): engines/columns_backward.h.
#include "cpu/engines/channels_backward.h"
#include "cpu/engines/columns_backward.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

MeanFactors mean_factors_of(const BatchNormBackward& a) {
  if (a.frozen) return {0.0, 0.0};
  const double reciprocal = 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
  return {reciprocal, reciprocal};
}

template <class T>
void report(const BatchNormBackward& a, std::int64_t channel, const RowSums& sum) {
  if (a.grad_weight) static_cast<wide<T>*>(a.grad_weight)[channel] = static_cast<wide<T>>(sum.gx);
  if (a.grad_bias) static_cast<wide<T>*>(a.grad_bias)[channel] = static_cast<wide<T>>(sum.g);
}

// Channels as sets of one line each, for engines/channels_backward.h.
template <class T>
struct ChannelGradients {
  BatchNormBackward a;
  std::int64_t sets;
  std::int64_t lines_per_set = 1;
  MeanFactors mean_factors;
  Writing how;

  explicit ChannelGradients(const BatchNormBackward& arguments)
      : a(arguments),
        sets(a.channels),
        mean_factors(mean_factors_of(a)),
        how(writing_of_lines(static_cast<T*>(a.grad_x), a.inner, a.grad_x_batch_stride,
                             a.batch * a.channels * a.inner)) {}

  Line<T> line(std::int64_t channel) const {
    const std::int64_t at = channel * a.inner;
    return {static_cast<const T*>(a.grad_output) + at,
            static_cast<const T*>(a.x) + at,
            static_cast<T*>(a.grad_x) + at,
            a.batch,
            a.inner,
            a.grad_output_batch_stride,
            a.x_batch_stride,
            a.grad_x_batch_stride,
            a.mean[channel],
            a.inv_std[channel]};
  }
  RowSums sums_of_set(std::int64_t, const RowSums* sums) const { return sums[0]; }
  LineFactors factors(std::int64_t channel) const {
    return {1.0, a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0)};
  }
  void report(std::int64_t channel, const RowSums& sum) const {
    NORMDROP_ISA::report<T>(a, channel, sum);
  }
};

template <class T>
void backward_columns(const BatchNormBackward& a) {
  ColumnsBackward<T>({static_cast<const T*>(a.grad_output), static_cast<const T*>(a.x),
                      static_cast<T*>(a.grad_x), a.batch, a.channels, a.grad_output_batch_stride,
                      a.x_batch_stride, a.grad_x_batch_stride, a.mean, a.inv_std,
                      static_cast<const wide<T>*>(a.weight), 1, false, mean_factors_of(a)})
      .run([&](std::int64_t channel, const RowSums& sum) { report<T>(a, channel, sum); });
}

template <class T>
void backward(const BatchNormBackward& a) {
  if (a.batch == 0 || a.inner == 0 || a.channels == 0) {
    fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<wide<T>*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  a.inner == 1 ? backward_columns<T>(a)
               : ChannelsBackward<T, ChannelGradients<T>>(ChannelGradients<T>(a)).run();
}

}  // namespace

void batch_norm_backward(const BatchNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.channels, [](const BatchNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
