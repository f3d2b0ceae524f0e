// Scale and shift of (batch, channels, inner):  y = x * weight + bias, one pair for each channel.
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct ScaleShiftForward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  const void* x;       // (batch, channels, inner)
  const void* weight;  // (channels,) or null
  const void* bias;    // (channels,) or null
  void* y;             // (batch, channels, inner); may be x itself
  void* stream;        // of a device; the CPU backends ignore it
};

constexpr auto description(const ScaleShiftForward*) {
  using namespace roles;
  using A = ScaleShiftForward;
  return describe(Entries{"scale_shift"}, Rows::independent,
                  PerChannel<A>{&A::batch, &A::channels, &A::inner},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, Parameter<A>{"weight", &A::weight},
                  Parameter<A>{"bias", &A::bias}, ChannelAxis{"channel_axis"},
                  Result<A>{"out", &A::y, &A::y_batch_stride, "x"});
}

struct ScaleShiftBackward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  const void* grad_output;  // (batch, channels, inner)
  const void* x;            // (batch, channels, inner)
  const void* weight;       // (channels,) or null
  void* grad_x;             // (batch, channels, inner); may be grad_output itself
  void* grad_weight;        // (channels,) or null
  void* grad_bias;          // (channels,) or null
  void* stream;             // of a device; the CPU backends ignore it
};

constexpr auto description(const ScaleShiftBackward*) {
  using namespace roles;
  using A = ScaleShiftBackward;
  return describe(Entries{"scale_shift_backward"}, Rows::together,
                  PerChannel<A>{&A::batch, &A::channels, &A::inner},
                  Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, Parameter<A>{"weight", &A::weight},
                  ChannelAxis{"channel_axis"}, Wanted{"bias"},
                  Result<A>{"out", &A::grad_x, &A::grad_x_batch_stride, "grad_output"},
                  Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

}  // namespace normdrop
