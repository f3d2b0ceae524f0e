// The forward pass of a norm over the middle axis of (outer, reduced, inner), whichever engine suits.
#pragma once

#include "cpu/arithmetic/mean_and_variance.h"
#include "cpu/engines/column_tiles.h"
#include "cpu/engines/rows.h"

namespace normdrop::NORMDROP_ISA {

// Normalises x over its middle axis, by rows or by columns.
template <class Statistic, class T>
void normalise_axis(const AxisForward<T>& a, const Prologue& prologue) {
  if (a.reduced == 0) {
    for (std::int64_t i = 0; i < a.outer * a.inner; ++i) {
      if (a.mean != nullptr) a.mean[i] = __builtin_nan("");
      if (a.inv_std != nullptr) a.inv_std[i] = __builtin_nan("");
    }
    return;
  }
  if (a.outer == 0 || a.inner == 0) return;
  if (a.inner == 1) return Rows<Statistic, T>(a, prologue).run();
  forward_column_tiles<T>({a.outer, a.reduced, a.inner}, {a.x, a.x_outer_stride},
                          {a.y, a.y_outer_stride}, a.weight, a.bias, SetStatistic<Statistic>{a.eps},
                          [&](std::int64_t set, const Normaliser& n) { a.report(set, n); },
                          prologue);
}

}  // namespace normdrop::NORMDROP_ISA
