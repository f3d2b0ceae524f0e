// Parametric rectifier of x (batch, channels, inner), one weight per channel:
//   y = x where x > 0, else weight * x
// At 0 the gradient is that of the other branch, times weight. One weight for all comes as
// channels == 1.
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct PreluForward {
  DType dtype;
  DType parameter_dtype;  // of weight and its gradient: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  const void* x;       // (batch, channels, inner)
  const void* weight;  // (channels,)
  void* y;             // (batch, channels, inner); may be x itself
  void* stream;        // of a device; the CPU backends ignore it
};

constexpr auto description(const PreluForward*) {
  using namespace roles;
  using A = PreluForward;
  return describe(Entries{"prelu"}, Rows::independent,
                  PerChannel<A>{&A::batch, &A::channels, &A::inner},
                  Leader<A>{"x", &A::x, &A::x_batch_stride},
                  Parameter<A>{"weight", &A::weight, Presence::required_or_one_for_all},
                  ChannelAxis{"channel_axis"}, Result<A>{"out", &A::y, &A::y_batch_stride, "x"});
}

//   grad_x = grad_output where x > 0, else weight * grad_output
//   grad_weight = sum of grad_output * x where not x > 0
struct PreluBackward {
  DType dtype;
  DType parameter_dtype;  // of weight and its gradient: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  const void* grad_output;  // (batch, channels, inner)
  const void* x;            // (batch, channels, inner)
  const void* weight;       // (channels,)
  void* grad_x;             // (batch, channels, inner); may be grad_output itself
  void* grad_weight;        // (channels,) or null
  void* stream;             // of a device; the CPU backends ignore it
};

constexpr auto description(const PreluBackward*) {
  using namespace roles;
  using A = PreluBackward;
  return describe(
      Entries{"prelu_backward"}, Rows::together, PerChannel<A>{&A::batch, &A::channels, &A::inner},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Parameter<A>{"weight", &A::weight, Presence::required_or_one_for_all},
      ChannelAxis{"channel_axis"}, NewResult<A>{"grad_x", &A::grad_x, &A::grad_x_batch_stride},
      Gradient<A>{"weight", &A::grad_weight});
}

}  // namespace normdrop
