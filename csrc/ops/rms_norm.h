// RMS norm over the middle axis of (outer, reduced, inner):
//   y = x * inv_std * weight + bias,   inv_std = 1 / sqrt(mean(x^2) + eps)
// Within one outer index the elements are dense; outer strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

struct RmsNormForward {
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
  double* inv_std;     // (outer, inner) or null
  void* stream;        // of a device; the CPU backends ignore it
};

struct RmsNormBackward {
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
  const double* inv_std;    // (outer, inner)
  const void* weight;       // (reduced,) or null
  void* grad_x;             // (outer, reduced, inner); may be grad_output itself
  void* grad_weight;        // (reduced,) or null
  void* grad_bias;          // (reduced,) or null
  void* stream;             // of a device; the CPU backends ignore it
};

}  // namespace normdrop
