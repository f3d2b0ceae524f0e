// The backward pass of a norm over the middle axis of (outer, reduced, inner), whichever engine suits.
#pragma once

#include "cpu/engines/column_tiles_backward.h"
#include "cpu/engines/rows_backward.h"

namespace normdrop::NORMDROP_ISA {

template <class T, class Epilogue>
void axis_gradients(const AxisBackward<T>& a, const Epilogue& epilogue) {
  if (a.outer == 0 || a.inner == 0 || a.reduced == 0) {
    fill_zero(a.grad_weight, a.grad_weight ? a.reduced : 0);
    fill_zero(a.grad_bias, a.grad_bias ? a.reduced : 0);
    return;
  }
  if (a.inner == 1) return RowsBackward<T, Epilogue>(a, epilogue).run();
  const ColumnTileGradient<T> all{a.grad_output, a.x,       a.grad_x, a.mean,  a.inv_std,
                                  a.weight,      a.reduced, a.inner,  a.inner, a.mean_factors()};
  const ColumnTilesGradient<T> gradient{all,
                                        a.outer,
                                        a.grad_output_outer_stride,
                                        a.x_outer_stride,
                                        a.grad_x_outer_stride,
                                        a.grad_weight,
                                        a.grad_bias};
  backward_column_tiles<T>(gradient, epilogue);
}

}  // namespace normdrop::NORMDROP_ISA
