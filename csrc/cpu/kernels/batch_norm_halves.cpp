// The first half of batch norm's forward, statistics alone, and both halves of its backward, where
// the sums of several calls are added up in between. x is (batch, channels, inner).
//   statistics: mean, var, inv_std = 1 / sqrt(var + eps)
//   sums:       sum grad_output, sum grad_output * x_hat
//   grad_x    = inv_std * weight * (grad_output - sum g / count - x_hat * sum g x_hat / count)
// Passes as in batch_norm.cpp and batch_norm_backward.cpp. (The second half of the forward is
// batch_norm_apply, in batch_norm_inference.cpp.)
#include "cpu/engines/batch_norm.h"
#include "cpu/engines/batch_norm_gradient.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class Arguments>
bool is_empty(const Arguments& a) {
  return a.batch == 0 || a.channels == 0 || a.inner == 0;
}

template <class T>
void statistics(const BatchStatistics& a) {
  const ChannelStatistics<T, BatchStatistics> channels(a);
  if (a.inner != 1) return report_sets<T>(channels);
  Scratch<Moments> moments(a.channels);
  column_parts_in_slots(channel_block<T>(a), moments.data());
  parallel_for(a.channels, cpu::tuning::elements_per_channel,
               [&](std::int64_t channel) { channels.finish(channel, moments[channel]); });
}

// The sums' own arguments with what a whole backward pass has beside them.
BatchNormBackward backward_of(const BatchNormGradientSums& a) {
  return {.dtype = a.dtype,
          .parameter_dtype = a.dtype,
          .frozen = false,
          .batch = a.batch,
          .channels = a.channels,
          .inner = a.inner,
          .grad_output_batch_stride = a.grad_output_batch_stride,
          .x_batch_stride = a.x_batch_stride,
          .grad_x_batch_stride = 0,
          .grad_output = a.grad_output,
          .x = a.x,
          .mean = a.mean,
          .inv_std = a.inv_std,
          .weight = nullptr,
          .grad_x = nullptr,
          .grad_weight = nullptr,
          .grad_bias = nullptr,
          .stream = nullptr};
}

template <class T>
void gradient_sums(const BatchNormGradientSums& a) {
  const BatchNormBackward whole = backward_of(a);
  const auto report = [=](std::int64_t channel, const RowSums& sums) {
    a.grad[channel] = sums.g;
    a.grad_x_hat[channel] = sums.gx;
  };
  if (a.inner == 1) return ColumnsBackward<T>(columns_gradient<T>(whole, {})).run_sums(report);
  using Gradients = ChannelGradients<T, BatchNormBackward, decltype(report)>;
  ChannelsBackward<T, Gradients>(Gradients(whole, {}, report)).run_sums();
}

template <class T>
void backward_apply(const BatchNormBackwardApply& a) {
  const MeanFactors factors{1.0 / a.count, 1.0 / a.count};
  const auto sums_at = [=](std::int64_t channel) {
    return RowSums{a.grad[channel], a.grad_x_hat[channel]};
  };
  if (a.inner == 1) return ColumnsBackward<T>(columns_gradient<T>(a, factors)).run_write(sums_at);
  const auto known = [=](std::int64_t channel, const RowSums*) { return sums_at(channel); };
  const auto report = [](std::int64_t, const RowSums&) {};
  using Gradients = ChannelGradients<T, BatchNormBackwardApply, decltype(report), decltype(known)>;
  ChannelsBackward<T, Gradients>(Gradients(a, factors, report, known)).run_write();
}

}  // namespace

void batch_stats(const BatchStatistics& a) {
  if (is_empty(a)) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      a.mean[c] = a.var[c] = a.inv_std[c] = __builtin_nan("");
    }
    return;
  }
  for_dtype(a.dtype, [&](auto element) { statistics<decltype(element)>(a); });
}

void batch_norm_gradient_sums(const BatchNormGradientSums& a) {
  if (is_empty(a)) {
    fill_zero(a.grad, a.channels);
    return fill_zero(a.grad_x_hat, a.channels);
  }
  for_dtype(a.dtype, [&](auto element) { gradient_sums<decltype(element)>(a); });
}

void batch_norm_backward_apply(const BatchNormBackwardApply& arguments) {
  if (is_empty(arguments)) return;
  using A = BatchNormBackwardApply;
  with_wide<&A::weight>(arguments, arguments.channels, [](const A& a) {
    for_dtype(a.dtype, [&](auto element) { backward_apply<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
