// Forward of batch norm (Ioffe, Szegedy 2015) of x (batch, channels, inner), one mean and var per
// channel.
//   y = (x - mean) * inv_std * weight + bias
// inner > 1 (NCHW): a channel at a time, its output written while it is in cache; chunks of
//   channels are tasks where channels are few (engines/channels.h). inner == 1 (NHWC, 2-D): column
//   reductions over fixed slots of rows, then rows of channels (engines/columns.h).
#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

// The elements of one channel.
template <class T, class Arguments>
Runs<T> channel_runs(const Arguments& a, std::int64_t channel) {
  return {static_cast<const T*>(a.x) + channel * a.inner, a.batch, a.inner, a.x_batch_stride};
}

// inner == 1: the rows of channels.
template <class T, class Arguments>
Block<T> channel_block(const Arguments& a) {
  return {static_cast<const T*>(a.x), a.batch, a.channels, a.x_batch_stride};
}

template <class T, class Arguments>
LineOutput<T> line_output(const Arguments& a) {
  T* y = static_cast<T*>(a.y);
  return {y,
          a.y_batch_stride,
          a.inner,
          static_cast<const wide<T>*>(a.weight),
          static_cast<const wide<T>*>(a.bias),
          writing_of_lines(y, a.inner, a.y_batch_stride, a.batch * a.channels * a.inner)};
}

template <class T, class Arguments>
ColumnOutput<T> column_output(const Arguments& a) {
  return {static_cast<T*>(a.y), a.y_batch_stride, static_cast<const wide<T>*>(a.weight),
          static_cast<const wide<T>*>(a.bias)};
}

void report(const BatchNormForward& a, std::int64_t channel, const Normaliser& n) {
  a.mean[channel] = reported_mean(n);
  a.var[channel] = reported_var(n);
  a.inv_std[channel] = reported_inv_std(n);
}

// Channels as sets of runs, for engines/channels.h.
template <class T>
struct Channels {
  BatchNormForward a;
  LineOutput<T> output;
  MeanAndVariance statistic;
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;

  explicit Channels(const BatchNormForward& arguments)
      : a(arguments),
        output(line_output<T>(arguments)),
        statistic{arguments.eps},
        sets(arguments.channels),
        runs(arguments.batch),
        length(arguments.inner) {}

  Runs<T> elements(std::int64_t channel) const { return channel_runs<T>(a, channel); }
  void report(std::int64_t channel, const Normaliser& n) const {
    NORMDROP_ISA::report(a, channel, n);
  }
  void write(std::int64_t channel, const Part<T>& part, const Normaliser& n) const {
    write_lines<true>(part, n, output.at(channel * length, channel));
  }
};

template <class T>
void forward_columns(const BatchNormForward& a) {
  Scratch<Moments> moments(a.channels);
  column_moments_in_slots(channel_block<T>(a), moments.data());
  write_columns<true>(channel_block<T>(a), column_output<T>(a), [&](std::int64_t channel) {
    const Normaliser n = finish(moments[channel], channel_runs<T>(a, channel), a.eps);
    report(a, channel, n);
    return n;
  });
}

Normaliser running_normaliser(const BatchNormInference& a, std::int64_t channel) {
  const double_double sum = two_sum(a.var[channel], a.eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  const double_double inv_std = sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
  return {{a.mean[channel], 0.0}, inv_std, a.var[channel], 1.0};
}

template <class T>
void inference(const BatchNormInference& a) {
  if (a.inner == 1) {
    return write_columns<false>(channel_block<T>(a), column_output<T>(a),
                                [&](std::int64_t c) { return running_normaliser(a, c); });
  }
  const LineOutput<T> output = line_output<T>(a);
  parallel_for(a.batch * a.channels, a.inner, [&](std::int64_t task) {
    const std::int64_t channel = task % a.channels;
    const std::int64_t row = task / a.channels;
    Runs<T> line = channel_runs<T>(a, channel);
    line.runs = 1;
    line.x += row * a.x_batch_stride;
    write_lines<false>(Part<T>{line, row, 0}, running_normaliser(a, channel),
                       output.at(channel * a.inner, channel));
  });
}

}  // namespace

void batch_norm_forward(const BatchNormForward& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      a.inner == 1 ? forward_columns<T>(a) : forward_sets<T>(Channels<T>(a));
    });
  });
}

void batch_norm_inference(const BatchNormInference& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormInference& a) {
    for_dtype(a.dtype, [&](auto element) { inference<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
