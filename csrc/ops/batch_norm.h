// Batch norm of (batch, channels, inner), one pair of statistics per channel:
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Within one batch index the elements are dense; batch strides are counted in elements.
#pragma once

#include <cstdint>

#include "ops/dtype.h"
#include "ops/roles.h"

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

constexpr auto description(const BatchNormForward*) {
  using namespace roles;
  using A = BatchNormForward;
  return describe(Entries{"batch_norm_forward"}, Rows::together,
                  PerChannel<A>{&A::batch, &A::channels, &A::inner, 2},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, Parameter<A>{"weight", &A::weight},
                  Parameter<A>{"bias", &A::bias}, ChannelAxis{"channel_axis"},
                  Epsilon<A>{"eps", &A::eps}, Result<A>{"out", &A::y, &A::y_batch_stride, "x"},
                  NewStatistic<A>{"mean", &A::mean}, NewStatistic<A>{"var", &A::var},
                  NewStatistic<A>{"inv_std", &A::inv_std}, NewCount{"count"});
}

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

constexpr auto description(const BatchNormInference*) {
  using namespace roles;
  using A = BatchNormInference;
  return describe(Entries{"batch_norm"}, Rows::independent,
                  PerChannel<A>{&A::batch, &A::channels, &A::inner},
                  Leader<A>{"x", &A::x, &A::x_batch_stride}, Running<A>{"running_mean", &A::mean},
                  Running<A>{"running_var", &A::var}, Parameter<A>{"weight", &A::weight},
                  Parameter<A>{"bias", &A::bias}, ChannelAxis{"channel_axis"},
                  Epsilon<A>{"eps", &A::eps}, Result<A>{"out", &A::y, &A::y_batch_stride, "x"});
}

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

constexpr auto description(const BatchNormBackward*) {
  using namespace roles;
  using A = BatchNormBackward;
  return describe(
      Entries{"batch_norm_backward"}, Rows::together,
      PerChannel<A>{&A::batch, &A::channels, &A::inner},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "BatchStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      Parameter<A>{"weight", &A::weight}, ChannelAxis{"channel_axis"},
      Flag<A>{"frozen", &A::frozen}, Wanted{"bias"},
      Result<A>{"out", &A::grad_x, &A::grad_x_batch_stride, "grad_output"},
      Gradient<A>{"weight", &A::grad_weight}, Gradient<A>{"bias", &A::grad_bias});
}

// The halves of batch norm, for statistics of more than one call: of several machines, or of batches
// that come one after the other.
struct BatchStatistics {
  DType dtype;
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  double eps;
  const void* x;    // (batch, channels, inner)
  double* mean;     // (channels,)
  double* var;      // (channels,), biased
  double* inv_std;  // (channels,)
  void* stream;     // of a device; the CPU backends ignore it
};

constexpr auto description(const BatchStatistics*) {
  using namespace roles;
  using A = BatchStatistics;
  return describe(
      Entries{"batch_stats"}, Rows::together, PerChannel<A>{&A::batch, &A::channels, &A::inner},
      Leader<A>{"x", &A::x, &A::x_batch_stride}, ChannelAxis{"channel_axis"},
      Epsilon<A>{"eps", &A::eps}, NewStatistic<A>{"mean", &A::mean},
      NewStatistic<A>{"var", &A::var}, NewStatistic<A>{"inv_std", &A::inv_std}, NewCount{"count"});
}

struct BatchNormApply {
  DType dtype;
  DType parameter_dtype;  // of weight and bias: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t x_batch_stride;
  std::int64_t y_batch_stride;
  const void* x;          // (batch, channels, inner)
  const double* mean;     // (channels,)
  const double* inv_std;  // (channels,)
  const void* weight;     // (channels,) or null
  const void* bias;       // (channels,) or null
  void* y;                // (batch, channels, inner); may be x itself
  void* stream;           // of a device; the CPU backends ignore it
};

constexpr auto description(const BatchNormApply*) {
  using namespace roles;
  using A = BatchNormApply;
  return describe(
      Entries{"batch_norm_apply"}, Rows::independent,
      PerChannel<A>{&A::batch, &A::channels, &A::inner}, Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "BatchStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      Parameter<A>{"weight", &A::weight}, Parameter<A>{"bias", &A::bias},
      ChannelAxis{"channel_axis"}, Result<A>{"out", &A::y, &A::y_batch_stride, "x"});
}

struct BatchNormGradientSums {
  DType dtype;
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  const void* grad_output;  // (batch, channels, inner)
  const void* x;            // (batch, channels, inner)
  const double* mean;       // (channels,)
  const double* inv_std;    // (channels,)
  double* grad;             // (channels,), sum of grad_output
  double* grad_x_hat;       // (channels,), sum of grad_output * x_hat
  void* stream;             // of a device; the CPU backends ignore it
};

constexpr auto description(const BatchNormGradientSums*) {
  using namespace roles;
  using A = BatchNormGradientSums;
  return describe(
      Entries{"batch_norm_gradient_sums"}, Rows::together,
      PerChannel<A>{&A::batch, &A::channels, &A::inner},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "BatchStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      ChannelAxis{"channel_axis"}, NewStatistic<A>{"grad", &A::grad},
      NewStatistic<A>{"grad_x_hat", &A::grad_x_hat}, NewCount{"count"});
}

// grad_x from the sums over all elements that the statistics are of, `count` per channel.
struct BatchNormBackwardApply {
  DType dtype;
  DType parameter_dtype;  // of weight: dtype or float32
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t inner;
  std::int64_t grad_output_batch_stride;
  std::int64_t x_batch_stride;
  std::int64_t grad_x_batch_stride;
  const void* grad_output;   // (batch, channels, inner)
  const void* x;             // (batch, channels, inner)
  const double* mean;        // (channels,)
  const double* inv_std;     // (channels,)
  const void* weight;        // (channels,) or null
  const double* grad;        // (channels,)
  const double* grad_x_hat;  // (channels,)
  double count;
  void* grad_x;  // (batch, channels, inner); may be grad_output itself
  void* stream;  // of a device; the CPU backends ignore it
};

constexpr auto description(const BatchNormBackwardApply*) {
  using namespace roles;
  using A = BatchNormBackwardApply;
  return describe(
      Entries{"batch_norm_backward_apply"}, Rows::independent,
      PerChannel<A>{&A::batch, &A::channels, &A::inner},
      Like<A>{"grad_output", &A::grad_output, &A::grad_output_batch_stride},
      Leader<A>{"x", &A::x, &A::x_batch_stride},
      Statistics<A>{"stats", "BatchStats", {{"mean", &A::mean}, {"inv_std", &A::inv_std}}},
      Statistics<A>{"sums", "GradientSums", {{"grad", &A::grad}, {"grad_x_hat", &A::grad_x_hat}}},
      CountOfStatistics<A>{"sums", "count", &A::count}, Parameter<A>{"weight", &A::weight},
      ChannelAxis{"channel_axis"},
      Result<A>{"out", &A::grad_x, &A::grad_x_batch_stride, "grad_output"});
}

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
