// Norms of the channels of (batch, channels, inner), forward and backward: batch norm, and weight
// norm, whose kept axis is one of channels.
//   y = (x - mean) * inv_std * weight + bias
//   grad_x = ((g - mean_g) - x^ * mean_g_x_hat) * inv_std * weight
//   grad_weight = sum(g * x^),   grad_bias = sum(g),   g = grad_output
// A channel is a set of runs, one in every batch index; with inner == 1 (2-D and channels-last
// data) channels are columns instead. Both are cut into slots by their shape, so that few channels
// fill the card as well as many. A channel that stays on chip is read once, others twice.
#pragma once

#include "cuda/engines/fill.cuh"
#include "cuda/engines/norm_backward.cuh"

namespace normdrop::NORMDROP_DEVICE {

struct ChannelShape {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;

  bool empty() const { return batch * channels * inner == 0; }
  double count() const { return static_cast<double>(batch) * static_cast<double>(inner); }
  // (channel, batch, inner) and (1, batch, channel)
  IndexMap runs(std::int64_t batch_stride) const {
    return {.first = inner, .second = batch_stride, .third = 1};
  }
  IndexMap columns(std::int64_t batch_stride) const { return {.second = batch_stride, .third = 1}; }
};

template <class T>
struct ChannelForward {
  ForwardArrays<T> arrays;
  ChannelShape shape;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;

  RunsInArray as_runs() const {
    return {.sets = shape.channels,
            .runs = shape.batch,
            .length = shape.inner,
            .x_map = shape.runs(x_batch_stride),
            .shape = {shape.batch, shape.channels, shape.inner},
            .x_outer_stride = x_batch_stride,
            .y_outer_stride = y_batch_stride,
            .normaliser_map = {.second = 1},
            .parameter_map = {.second = 1}};
  }
  ColumnsInArray as_columns() const {
    return {.outer = 1,
            .rows = shape.batch,
            .columns = shape.channels,
            .x_map = shape.columns(x_batch_stride),
            .y_map = shape.columns(y_batch_stride),
            .parameter_map = {.third = 1}};
  }
};

// Of the arguments of a batch norm.
template <class T, class Arguments>
ChannelForward<T> channel_forward_of(const Arguments& a, const Measure& measure,
                                     const Statistics& statistics) {
  return {.arrays = {.x = static_cast<const T*>(a.x),
                     .y = static_cast<T*>(a.y),
                     .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                     .bias = parameter_of<T>(a.bias, a.parameter_dtype),
                     .measure = measure,
                     .statistics = statistics,
                     .stream = a.stream},
          .shape = {a.batch, a.channels, a.inner},
          .x_batch_stride = a.x_batch_stride,
          .y_batch_stride = a.y_batch_stride};
}

template <class T>
struct ChannelBackward {
  BackwardArrays<T> arrays;
  ChannelShape shape;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  Parameter<T> weight;
  ParameterGradient<T> grad_weight;
  ParameterGradient<T> grad_bias;
  MeanFactors mean_factors;
  double* grad = nullptr;  // the sums themselves, or null
  double* grad_x_hat = nullptr;
};

// Defined and instantiated in channel_norms.cu. Without a y, the statistics alone; without a
// grad_x, the sums.
template <class T>
void forward_over_channels(const ChannelForward<T>& a);
template <class T>
void backward_over_channels(const ChannelBackward<T>& a);

// The last pass of each, with what it needs of every channel at hand.
template <class T>
void apply_over_channels(const ChannelForward<T>& a, const Normaliser* normalisers) {
  if (a.shape.inner == 1) {
    apply_to_columns<false>(a.arrays, a.as_columns(), normalisers);
  } else {
    apply_to_runs<false>(a.arrays, a.as_runs(), normalisers);
  }
}
template <class T>
void write_over_channels(const ChannelBackward<T>& a, const GradientLine* lines);

}  // namespace normdrop::NORMDROP_DEVICE
