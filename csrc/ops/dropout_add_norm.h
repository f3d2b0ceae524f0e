// Dropout, the sum with a residual, and a norm of that sum over the middle axis of
// (outer, reduced, inner):
//   sum = residual + dropout(x), rounded once;  y = norm(sum), of the rounded sum
//   grad_residual = the norm's gradient at the sum + grad_sum;  grad_x = dropout(grad_residual)
// Element (o, r, i) takes the word of index ((o * reduced) + r) * inner + i (ops/dropout.h). Within
// one outer index the elements are dense; outer strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dropout.h"
#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct DropoutAddLayerNormForward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t x_outer_stride;
  std::int64_t residual_outer_stride;
  std::int64_t sum_outer_stride;
  std::int64_t y_outer_stride;
  double eps;
  DropoutDraw draw;
  double scale;                      // as in Dropout
  const void* x;                     // (outer, reduced, inner)
  const void* residual;              // (outer, reduced, inner)
  const void* weight;                // (reduced,) or null
  const void* bias;                  // (reduced,) or null
  void* sum;                         // (outer, reduced, inner); may be x or residual itself
  void* y;                           // (outer, reduced, inner)
  double* mean;                      // (outer, inner) or null
  double* inv_std;                   // (outer, inner) or null
  const std::uint64_t* device_draw;  // as in Dropout
  void* stream;                      // of a device; the CPU backends ignore it
};

struct DropoutAddLayerNormBackward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t grad_y_outer_stride;
  std::int64_t grad_sum_outer_stride;
  std::int64_t sum_outer_stride;
  std::int64_t grad_x_outer_stride;
  std::int64_t grad_residual_outer_stride;
  DropoutDraw draw;
  double scale;           // as in Dropout
  const void* grad_y;     // (outer, reduced, inner)
  const void* grad_sum;   // (outer, reduced, inner): what reaches the sum from elsewhere; or null
  const void* sum;        // (outer, reduced, inner)
  const double* mean;     // (outer, inner)
  const double* inv_std;  // (outer, inner)
  const void* weight;     // (reduced,) or null
  void* grad_x;           // (outer, reduced, inner)
  void* grad_residual;    // (outer, reduced, inner)
  void* grad_weight;      // (reduced,) or null
  void* grad_bias;        // (reduced,) or null
  const std::uint64_t* device_draw;  // as in Dropout
  void* stream;                      // of a device; the CPU backends ignore it
};

struct DropoutAddRmsNormForward {
  DType dtype;
  DType parameter_dtype;
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t x_outer_stride;
  std::int64_t residual_outer_stride;
  std::int64_t sum_outer_stride;
  std::int64_t y_outer_stride;
  double eps;
  DropoutDraw draw;
  double scale;
  const void* x;
  const void* residual;
  const void* weight;
  const void* bias;
  void* sum;
  void* y;
  double* inv_std;
  const std::uint64_t* device_draw;
  void* stream;
};

struct DropoutAddRmsNormBackward {
  DType dtype;
  DType parameter_dtype;
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t grad_y_outer_stride;
  std::int64_t grad_sum_outer_stride;
  std::int64_t sum_outer_stride;
  std::int64_t grad_x_outer_stride;
  std::int64_t grad_residual_outer_stride;
  DropoutDraw draw;
  double scale;
  const void* grad_y;
  const void* grad_sum;
  const void* sum;
  const double* inv_std;
  const void* weight;
  void* grad_x;
  void* grad_residual;
  void* grad_weight;
  void* grad_bias;
  const std::uint64_t* device_draw;
  void* stream;
};

namespace roles {

// Both norms have the same roles but for the mean.
template <class A, class... Statistics>
constexpr auto describe_dropout_add_forward(const char* name, Statistics... statistics) {
  return describe(Entries{name}, Rows::independent,
                  OverAxes<A>{&A::outer, &A::reduced, &A::inner, true},
                  Leader<A>{"x", &A::x, &A::x_outer_stride},
                  Like<A>{"residual", &A::residual, &A::residual_outer_stride},
                  Parameter<A>{"weight", &A::weight}, Parameter<A>{"bias", &A::bias},
                  Draw<A>{&A::draw, &A::scale, &A::device_draw}, Axes{"axis"},
                  Epsilon<A>{"eps", &A::eps}, NewResult<A>{"y", &A::y, &A::y_outer_stride},
                  NewResult<A>{"sum", &A::sum, &A::sum_outer_stride}, statistics...);
}

template <class A>
constexpr auto describe_dropout_add_backward(const char* name, Statistics<A> statistics) {
  return describe(Entries{name}, Rows::together,
                  OverAxes<A>{&A::outer, &A::reduced, &A::inner, true},
                  Like<A>{"grad_y", &A::grad_y, &A::grad_y_outer_stride},
                  Leader<A>{"fused.sum", &A::sum, &A::sum_outer_stride}, statistics,
                  Parameter<A>{"weight", &A::weight}, Draw<A>{&A::draw, &A::scale, &A::device_draw},
                  Like<A>{"grad_sum", &A::grad_sum, &A::grad_sum_outer_stride, true}, Axes{"axis"},
                  Wanted{"bias"}, NewResult<A>{"grad_x", &A::grad_x, &A::grad_x_outer_stride},
                  NewResult<A>{"grad_residual", &A::grad_residual, &A::grad_residual_outer_stride},
                  Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

}  // namespace roles

constexpr auto description(const DropoutAddLayerNormForward*) {
  using A = DropoutAddLayerNormForward;
  return roles::describe_dropout_add_forward<A>("dropout_add_layer_norm_forward",
                                                roles::NewStatistic<A>{"mean", &A::mean},
                                                roles::NewStatistic<A>{"inv_std", &A::inv_std});
}

constexpr auto description(const DropoutAddLayerNormBackward*) {
  using A = DropoutAddLayerNormBackward;
  return roles::describe_dropout_add_backward<A>(
      "dropout_add_layer_norm_backward",
      {"fused.stats", "NormStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}});
}

constexpr auto description(const DropoutAddRmsNormForward*) {
  using A = DropoutAddRmsNormForward;
  return roles::describe_dropout_add_forward<A>("dropout_add_rms_norm_forward",
                                                roles::NewStatistic<A>{"inv_std", &A::inv_std});
}

constexpr auto description(const DropoutAddRmsNormBackward*) {
  using A = DropoutAddRmsNormBackward;
  return roles::describe_dropout_add_backward<A>(
      "dropout_add_rms_norm_backward", {"fused.stats", "NormStats", {{"inv_std", &A::inv_std}}});
}

}  // namespace normdrop
