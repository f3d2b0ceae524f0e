// Backward of the norms over the middle axis of (outer, reduced, inner): with g = grad_output *
// weight, x^ = (x - mean) * inv_std and means over the reduced axis,
//   grad_x = ((g - mean(g)) - x^ * mean(g * x^)) * inv_std + addend
//   grad_weight = sum over rows of grad_output * x^,   grad_bias = sum of grad_output
// x^ is recomputed, never stored. Without a mean (RMS norm) there is no mean(g).
#pragma once

#include "cuda/engines/fill.cuh"
#include "cuda/engines/norm_backward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct AxisBackward {
  BackwardArrays<T> arrays;
  Parameter<T> weight;
  ParameterGradient<T> grad_weight;
  ParameterGradient<T> grad_bias;
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  std::int64_t addend_outer_stride;
  MeanFactors mean_factors;
};

// Of the arguments of a norm over an axis; `mean` is null where it has none.
template <class T, class Arguments>
AxisBackward<T> axis_backward_of(const Arguments& a, const double* mean) {
  const double reciprocal = 1.0 / static_cast<double>(a.reduced);
  return {.arrays = {.grad_output = static_cast<const T*>(a.grad_output),
                     .x = static_cast<const T*>(a.x),
                     .statistics = {.mean = mean, .inv_std = a.inv_std},
                     .grad_x = static_cast<T*>(a.grad_x),
                     .stream = a.stream},
          .weight = parameter_of<T>(a.weight, a.parameter_dtype),
          .grad_weight = parameter_gradient_of<T>(a.grad_weight, a.parameter_dtype),
          .grad_bias = parameter_gradient_of<T>(a.grad_bias, a.parameter_dtype),
          .outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .grad_output_outer_stride = a.grad_output_outer_stride,
          .x_outer_stride = a.x_outer_stride,
          .grad_x_outer_stride = a.grad_x_outer_stride,
          .addend_outer_stride = 0,
          .mean_factors = {mean != nullptr ? reciprocal : 0.0, reciprocal}};
}

// Defined and instantiated in axis_backward.cu.
template <class T>
void backward_over_axis(const AxisBackward<T>& a);

// Whether there is nothing to do but zero gradients of parameters, which are then written.
template <class Arguments>
bool no_gradients(const Arguments& a) {
  if (a.outer * a.reduced * a.inner > 0) return false;
  const std::int64_t bytes = a.reduced * bytes_of(a.parameter_dtype);
  fill_bytes(a.grad_weight, 0, bytes, a.stream);
  fill_bytes(a.grad_bias, 0, bytes, a.stream);
  return true;
}

}  // namespace normdrop::NORMDROP_DEVICE
