// From the arguments of a norm over one axis to those of the engines.
#pragma once

#include "cpu/engines/axis.h"

namespace normdrop::NORMDROP_ISA {

// mean: (outer, inner), or null where the statistic has none or nobody wants it.
template <class T, class Forward>
NORMDROP_INLINE AxisForward<T> axis_forward(const Forward& a, double* mean) {
  return {.outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .x_outer_stride = a.x_outer_stride,
          .y_outer_stride = a.y_outer_stride,
          .eps = a.eps,
          .x = static_cast<const T*>(a.x),
          .weight = static_cast<const wide<T>*>(a.weight),
          .bias = static_cast<const wide<T>*>(a.bias),
          .y = static_cast<T*>(a.y),
          .mean = mean,
          .inv_std = a.inv_std};
}

template <class T, class Backward>
NORMDROP_INLINE AxisBackward<T> axis_backward(const Backward& a, const double* mean) {
  return {.outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .grad_output_outer_stride = a.grad_output_outer_stride,
          .x_outer_stride = a.x_outer_stride,
          .grad_x_outer_stride = a.grad_x_outer_stride,
          .grad_output = static_cast<const T*>(a.grad_output),
          .x = static_cast<const T*>(a.x),
          .mean = mean,
          .inv_std = a.inv_std,
          .weight = static_cast<const wide<T>*>(a.weight),
          .grad_x = static_cast<T*>(a.grad_x),
          .grad_weight = static_cast<wide<T>*>(a.grad_weight),
          .grad_bias = static_cast<wide<T>*>(a.grad_bias)};
}

}  // namespace normdrop::NORMDROP_ISA
