// Forward of the norms over the middle axis of (outer, reduced, inner):
//   y = (x - mean) * inv_std * weight + bias
#pragma once

#include "cuda/engines/fill.cuh"
#include "cuda/engines/norm_forward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct AxisForward {
  ForwardArrays<T> arrays;
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
};

// Of the arguments of a norm over an axis, whose statistics are `statistics`.
template <class T, class Statistic, class Arguments>
AxisForward<T> axis_forward_of(const Arguments& a, const Statistics& statistics) {
  return {.arrays = {.x = static_cast<const T*>(a.x),
                     .y = static_cast<T*>(a.y),
                     .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                     .bias = parameter_of<T>(a.bias, a.parameter_dtype),
                     .measure = {.centred = Statistic::centred(), .averaged = true, .eps = a.eps},
                     .statistics = statistics,
                     .stream = a.stream},
          .outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .x_outer_stride = a.x_outer_stride,
          .y_outer_stride = a.y_outer_stride};
}

// Defined in axis_forward_passes.cuh, instantiated in layer_norm.cu and rms_norm.cu.
template <class Statistic, class T>
void forward_over_axis(const AxisForward<T>& a);

// Whether there is nothing to normalise; statistics of empty sets are then written.
template <class Arguments>
bool nothing_to_normalise(const Arguments& a, double* mean) {
  if (a.outer * a.inner == 0) return true;
  if (a.reduced > 0) return false;
  const std::int64_t bytes = a.outer * a.inner * static_cast<std::int64_t>(sizeof(double));
  fill_bytes(mean, byte_of_nan, bytes, a.stream);
  fill_bytes(a.inv_std, byte_of_nan, bytes, a.stream);
  return true;
}

}  // namespace normdrop::NORMDROP_DEVICE
