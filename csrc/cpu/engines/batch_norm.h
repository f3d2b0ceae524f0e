// What the passes of batch norm share: x (batch, channels, inner) as the engines see it.
#pragma once

#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_ISA {

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

// Statistics of the channels of x, as sets for engines/channels.h and as columns.
template <class T, class Arguments>
struct ChannelStatistics {
  Arguments a;
  MeanAndVariance statistic;
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;

  explicit ChannelStatistics(const Arguments& arguments)
      : a(arguments),
        statistic{arguments.eps},
        sets(arguments.channels),
        runs(arguments.batch),
        length(arguments.inner) {}

  Runs<T> elements(std::int64_t channel) const { return channel_runs<T>(a, channel); }
  void report(std::int64_t channel, const Normaliser& n) const {
    a.mean[channel] = reported_mean(n);
    a.var[channel] = reported_var(n);
    a.inv_std[channel] = reported_inv_std(n);
  }
  Normaliser finish(std::int64_t channel, const Moments& moments) const {
    const Normaliser n = statistic.finish(moments, elements(channel));
    report(channel, n);
    return n;
  }
};

// Normalises x, whose statistics were passed in: x may be inf in a channel whose statistics are not.
template <class T, class Arguments, class NormaliserAt>
void apply_normalisers(const Arguments& a, NormaliserAt&& normaliser_at) {
  if (a.inner == 1) {
    return write_columns<false>(channel_block<T>(a), column_output<T>(a), normaliser_at);
  }
  const LineOutput<T> output = line_output<T>(a);
  using Pass = ChannelPass<T, false>;
  Scratch<Pass> passes(a.channels);
  for (std::int64_t c = 0; c < a.channels; ++c) {
    passes[c] = Pass(normaliser_at(c), parameter<T>(a.weight, c, 1.0), parameter<T>(a.bias, c, 0.0),
                     output.how);
  }
  parallel_for(a.batch * a.channels, a.inner, [&](std::int64_t task) {
    const std::int64_t channel = task % a.channels;
    const std::int64_t row = task / a.channels;
    Runs<T> line = channel_runs<T>(a, channel);
    line.runs = 1;
    line.x += row * a.x_batch_stride;
    passes[channel].write(line, output.y + row * output.stride + channel * a.inner, 0);
  });
}

}  // namespace normdrop::NORMDROP_ISA
