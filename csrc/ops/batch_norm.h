// Batch norm of (batch, channels, inner), one pair of statistics per channel:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

struct BatchNormForward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
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
  void* stream;        // of a device; the CPU backends ignore it
};

struct BatchNormInference {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
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
  void* stream;        // of a device; the CPU backends ignore it
};

struct BatchNormBackward {
  DType dtype;
  DType parameter_dtype;  // of weight, bias and their gradients: dtype or float32
  bool frozen;            // the statistics were constants: no mean terms in grad_x
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
  void* stream;             // of a device; the CPU backends ignore it
};

// running = (1 - momentum) * running + momentum * batch, where the batch's variance is multiplied by
// var_factor = count / (count - correction).
struct RunningStatsUpdate {
  DType mean_dtype;  // float32 or float64
  DType var_dtype;
  std::int64_t channels;
  double momentum;
  double var_factor;
  const double* mean;  // (channels,)
  const double* var;   // (channels,)
  void* running_mean;  // (channels,)
  void* running_var;   // (channels,)
  void* stream;        // of a device; the CPU backends ignore it
};

}  // namespace normdrop
