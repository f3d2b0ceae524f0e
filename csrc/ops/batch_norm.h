// Batch norm of (batch, channels, inner), one pair of statistics per channel:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

struct BatchNormForward {
  DType dtype;
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  double eps;
  const void* x;       // (batch, channels, inner)
  const void* weight;  // (channels,) or null
  const void* bias;    // (channels,) or null
  void* y;             // (batch, channels, inner); may be x itself
  double* mean;        // (channels,)
  double* var;         // (channels,), biased
  double* inv_std;     // (channels,)
};

struct BatchNormInference {
  DType dtype;
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  double eps;
  const void* x;       // (batch, channels, inner)
  const double* mean;  // (channels,)
  const double* var;   // (channels,)
  const void* weight;  // (channels,) or null
  const void* bias;    // (channels,) or null
  void* y;             // (batch, channels, inner); may be x itself
};

struct BatchNormBackward {
  DType dtype;
  bool frozen;  // the statistics were constants: no mean terms in grad_x
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  const void* grad_output;  // (batch, channels, inner)
  const void* x;            // (batch, channels, inner)
  const double* mean;       // (channels,)
  const double* inv_std;    // (channels,)
  const void* weight;       // (channels,) or null
  void* grad_x;             // (batch, channels, inner); may be grad_output itself
  void* grad_weight;        // (channels,) or null
  void* grad_bias;          // (channels,) or null
};

}  // namespace normdrop
