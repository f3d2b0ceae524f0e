// Layer norm over the middle axis of (outer, reduced, inner):
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Within one outer index the elements are dense; outer strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct LayerNormForward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
  double eps;
  const void* x;       // (outer, reduced, inner)
  const void* weight;  // (reduced,) or null
  const void* bias;    // (reduced,) or null
  void* y;             // (outer, reduced, inner); may be x itself
  double* mean;        // (outer, inner) or null
  double* inv_std;     // (outer, inner) or null
  void* stream;        // of a device; the CPU backends ignore it
};

constexpr auto description(const LayerNormForward*) {
  using namespace roles;
  using A = LayerNormForward;
  return describe(Entries{"layer_norm_forward", "layer_norm"}, Rows::independent,
                  OverAxes<A>{&A::outer, &A::reduced, &A::inner},
                  Leader<A>{"x", &A::x, &A::x_outer_stride}, Parameter<A>{"weight", &A::weight},
                  Parameter<A>{"bias", &A::bias}, Axes{"axis"}, Epsilon<A>{"eps", &A::eps},
                  Result<A>{"out", &A::y, &A::y_outer_stride, "x"},
                  NewStatistic<A>{"mean", &A::mean}, NewStatistic<A>{"inv_std", &A::inv_std});
}

struct LayerNormBackward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  const void* grad_output;  // (outer, reduced, inner)
  const void* x;            // (outer, reduced, inner)
  const double* mean;       // (outer, inner)
  const double* inv_std;    // (outer, inner)
  const void* weight;       // (reduced,) or null
  void* grad_x;             // (outer, reduced, inner); may be grad_output itself
  void* grad_weight;        // (reduced,) or null
  void* grad_bias;          // (reduced,) or null
  void* stream;             // of a device; the CPU backends ignore it
};

constexpr auto description(const LayerNormBackward*) {
  using namespace roles;
  using A = LayerNormBackward;
  return describe(
      Entries{"layer_norm_backward"}, Rows::together,
      OverAxes<A>{&A::outer, &A::reduced, &A::inner},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_outer_stride},
      Leader<A>{"x", &A::x, &A::x_outer_stride},
      Statistics<A>{"stats", "NormStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      Parameter<A>{"weight", &A::weight}, Axes{"axis"}, Wanted{"bias"},
      Result<A>{"out", &A::grad_x, &A::grad_x_outer_stride, "grad_output"},
      Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

}  // namespace normdrop
