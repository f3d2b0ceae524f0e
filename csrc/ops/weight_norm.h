// Weight norm of v (outer, kept, inner): a length g for every index of the kept axis.
//   w = v * g / norm,   norm = sqrt(sum of v * v over outer and inner)
// Where all of v is 0 the norm is 0 and so is w; its gradients are NaN.
// Within one outer index the elements are dense; outer strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

namespace normdrop {

struct WeightNormForward {
  DType dtype;
  DType parameter_dtype;  // of g and its gradient: dtype or float32
  std::int64_t outer;
  std::int64_t kept;
  std::int64_t inner;
  std::int64_t v_outer_stride;
  std::int64_t w_outer_stride;
  const void* v;  // (outer, kept, inner)
  const void* g;  // (kept,)
  void* w;        // (outer, kept, inner); may be v itself
  double* norm;   // (kept,) or null
  void* stream;   // of a device; the CPU backends ignore it
};

constexpr auto description(const WeightNormForward*) {
  using namespace roles;
  using A = WeightNormForward;
  return describe(Entries{"weight_norm_forward", "weight_norm"}, Rows::together,
                  PerChannel<A>{&A::outer, &A::kept, &A::inner, 0, 1},
                  Leader<A>{"v", &A::v, &A::v_outer_stride},
                  Parameter<A>{"g", &A::g, Presence::required}, ChannelAxis{"axis"},
                  Result<A>{"out", &A::w, &A::w_outer_stride, "v"},
                  NewStatistic<A>{"norm", &A::norm});
}

//   grad_g = sum(grad_w * v) / norm,   grad_v = g / norm * (grad_w - v / norm * grad_g)
struct WeightNormBackward {
  DType dtype;
  DType parameter_dtype;  // of g and its gradient: dtype or float32
  std::int64_t outer;
  std::int64_t kept;
  std::int64_t inner;
  std::int64_t grad_w_outer_stride;
  std::int64_t v_outer_stride;
  std::int64_t grad_v_outer_stride;
  const void* grad_w;  // (outer, kept, inner)
  const void* v;       // (outer, kept, inner)
  const void* g;       // (kept,)
  const double* norm;  // (kept,)
  void* grad_v;        // (outer, kept, inner); may be grad_w itself
  void* grad_g;        // (kept,)
  void* stream;        // of a device; the CPU backends ignore it
};

constexpr auto description(const WeightNormBackward*) {
  using namespace roles;
  using A = WeightNormBackward;
  return describe(Entries{"weight_norm_backward"}, Rows::together,
                  PerChannel<A>{&A::outer, &A::kept, &A::inner, 0, 1},
                  Like<A>{"grad_w", &A::grad_w, &A::grad_w_outer_stride},
                  Leader<A>{"v", &A::v, &A::v_outer_stride},
                  Parameter<A>{"g", &A::g, Presence::required}, Statistic<A>{"norm", &A::norm},
                  ChannelAxis{"axis"}, NewResult<A>{"grad_v", &A::grad_v, &A::grad_v_outer_stride},
                  Gradient<A>{"g", &A::grad_g});
}

}  // namespace normdrop
