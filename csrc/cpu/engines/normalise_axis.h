// The forward pass of a norm over the middle axis of (outer, reduced, inner), whichever engine suits.
#pragma once

#include "cpu/engines/column_tiles.h"
#include "cpu/engines/rows.h"

namespace normdrop::NORMDROP_ISA {

// Normalises x over its middle axis, by rows or by columns.
template <class Statistic, class T, class Prologue>
void normalise_axis(const AxisForward<T>& a, const Prologue& prologue) {
  if (a.reduced == 0) {
    for (std::int64_t i = 0; i < a.outer * a.inner; ++i) {
      if (a.mean != nullptr) a.mean[i] = __builtin_nan("");
      if (a.inv_std != nullptr) a.inv_std[i] = __builtin_nan("");
    }
    return;
  }
  if (a.outer == 0 || a.inner == 0) return;
  if (a.inner == 1) return Rows<Statistic, T, Prologue>(a, prologue).run();
  ColumnTiles<Statistic, T, Prologue>(a, prologue).run();
}

}  // namespace normdrop::NORMDROP_ISA
