// Backward of dropout, the sum with a residual, and a norm:
//   grad_residual = the norm's gradient + grad_sum, rounded once;  grad_x = dropout(grad_residual)
#pragma once

#include "cuda/engines/axis_backward.cuh"
#include "cuda/engines/dropout_add.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T, class Arguments>
void dropout_add_norm_backward(const Arguments& a, const double* mean) {
  const double reciprocal = 1.0 / static_cast<double>(a.reduced);
  backward_over_axis<T>({.arrays = {.grad_output = static_cast<const T*>(a.grad_y),
                                    .x = static_cast<const T*>(a.sum),
                                    .statistics = {.mean = mean, .inv_std = a.inv_std},
                                    .grad_x = static_cast<T*>(a.grad_residual),
                                    .stream = a.stream,
                                    .addend = static_cast<const T*>(a.grad_sum)},
                         .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                         .grad_weight = parameter_gradient_of<T>(a.grad_weight, a.parameter_dtype),
                         .grad_bias = parameter_gradient_of<T>(a.grad_bias, a.parameter_dtype),
                         .outer = a.outer,
                         .reduced = a.reduced,
                         .inner = a.inner,
                         .grad_output_outer_stride = a.grad_y_outer_stride,
                         .x_outer_stride = a.sum_outer_stride,
                         .grad_x_outer_stride = a.grad_residual_outer_stride,
                         .addend_outer_stride = a.grad_sum != nullptr ? a.grad_sum_outer_stride : 0,
                         .mean_factors = {mean != nullptr ? reciprocal : 0.0, reciprocal}});
  make_sums<T>({.x = static_cast<const T*>(a.grad_residual),
                .residual = nullptr,
                .sum = static_cast<T*>(a.grad_x),
                .draw = DrawnWords(a.draw, a.device_draw),
                .scale = static_cast<wide<T>>(a.scale),
                .in = ShapeInPacks({a.outer, a.reduced, a.inner}, vector_elements<T>),
                .x_outer_stride = a.grad_residual_outer_stride,
                .residual_outer_stride = 0,
                .sum_outer_stride = a.grad_x_outer_stride},
               a.stream);
}

}  // namespace normdrop::NORMDROP_DEVICE
