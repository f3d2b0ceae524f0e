// Group norm of x (batch, before, channels, after): one pair of statistics for every batch index and
// group of channels / groups neighbouring channels, a weight and a bias for each channel:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Channels-first arrays have before == 1, channels-last ones after == 1, (N, C) both.
// Instance norm is group norm with a group for every channel.
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct GroupNormForward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t batch;
  std::int64_t before;
  std::int64_t channels;
  std::int64_t after;
  std::int64_t groups;  // divides channels
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  double eps;
  const void* x;       // (batch, before, channels, after)
  const void* weight;  // (channels,) or null
  const void* bias;    // (channels,) or null
  void* y;             // (batch, before, channels, after); may be x itself
  double* mean;        // (batch, groups) or null
  double* inv_std;     // (batch, groups) or null
  void* stream;        // of a device; the CPU backends ignore it
};

constexpr auto description(const GroupNormForward*) {
  using namespace roles;
  using A = GroupNormForward;
  return describe(Entries{"group_norm_forward", "group_norm"}, Rows::independent,
                  ChannelGroups<A>{&A::batch, &A::before, &A::channels, &A::after, &A::groups},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, NumberOfGroups{"num_groups"},
                  Parameter<A>{"weight", &A::weight}, Parameter<A>{"bias", &A::bias},
                  ChannelAxis{"channel_axis"}, Epsilon<A>{"eps", &A::eps},
                  Result<A>{"out", &A::y, &A::y_batch_stride, "x"},
                  NewStatistic<A>{"mean", &A::mean}, NewStatistic<A>{"inv_std", &A::inv_std});
}

struct GroupNormBackward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t batch;
  std::int64_t before;
  std::int64_t channels;
  std::int64_t after;
  std::int64_t groups;  // divides channels
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  const void* grad_output;  // (batch, before, channels, after)
  const void* x;            // (batch, before, channels, after)
  const double* mean;       // (batch, groups)
  const double* inv_std;    // (batch, groups)
  const void* weight;       // (channels,) or null
  void* grad_x;             // (batch, before, channels, after); may be grad_output itself
  void* grad_weight;        // (channels,) or null
  void* grad_bias;          // (channels,) or null
  void* stream;             // of a device; the CPU backends ignore it
};

constexpr auto description(const GroupNormBackward*) {
  using namespace roles;
  using A = GroupNormBackward;
  return describe(
      Entries{"group_norm_backward"}, Rows::together,
      ChannelGroups<A>{&A::batch, &A::before, &A::channels, &A::after, &A::groups},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "NormStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      NumberOfGroups{"num_groups"}, Parameter<A>{"weight", &A::weight}, ChannelAxis{"channel_axis"},
      Wanted{"bias"}, Result<A>{"out", &A::grad_x, &A::grad_x_batch_stride, "grad_output"},
      Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

// groups == channels.
struct InstanceNormForward : GroupNormForward {};
struct InstanceNormBackward : GroupNormBackward {};

constexpr auto description(const InstanceNormForward*) {
  using namespace roles;
  using A = InstanceNormForward;
  return describe(Entries{"instance_norm_forward", "instance_norm"}, Rows::independent,
                  ChannelGroups<A>{&A::batch, &A::before, &A::channels, &A::after, &A::groups},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, Parameter<A>{"weight", &A::weight},
                  Parameter<A>{"bias", &A::bias}, ChannelAxis{"channel_axis"},
                  Epsilon<A>{"eps", &A::eps}, Result<A>{"out", &A::y, &A::y_batch_stride, "x"},
                  NewStatistic<A>{"mean", &A::mean}, NewStatistic<A>{"inv_std", &A::inv_std});
}

constexpr auto description(const InstanceNormBackward*) {
  using namespace roles;
  using A = InstanceNormBackward;
  return describe(
      Entries{"instance_norm_backward"}, Rows::together,
      ChannelGroups<A>{&A::batch, &A::before, &A::channels, &A::after, &A::groups},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "NormStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      Parameter<A>{"weight", &A::weight}, ChannelAxis{"channel_axis"}, Wanted{"bias"},
      Result<A>{"out", &A::grad_x, &A::grad_x_batch_stride, "grad_output"},
      Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

}  // namespace normdrop
