// Normalises sets whose elements are `inner` apart: tiles of neighbouring columns of one outer index.
#pragma once

#include "cpu/engines/axis.h"
#include "cpu/engines/columns.h"

namespace normdrop::NORMDROP_ISA {

struct Tiles {
  std::int64_t width;
  std::int64_t per_outer;
  std::int64_t count;
};

NORMDROP_INLINE Tiles plan_tiles(std::int64_t outer, std::int64_t inner) {
  const std::int64_t width = inner < cpu::tuning::column_tile ? inner : cpu::tuning::column_tile;
  const std::int64_t per_outer = (inner + width - 1) / width;
  return {width, per_outer, outer * per_outer};
}

// Calls body(outer, begin, columns) with the tile of an index.
template <class Body>
NORMDROP_INLINE void with_tile(const Tiles& tiles, std::int64_t tile, std::int64_t inner,
                               Body&& body) {
  const std::int64_t begin = tile % tiles.per_outer * tiles.width;
  const std::int64_t left = inner - begin;
  body(tile / tiles.per_outer, begin, left < tiles.width ? left : tiles.width);
}

template <class T>
NORMDROP_INLINE void column_statistics(const Block<T>& in, double* scratch, Moments* out) {
  column_moments(in, scratch, out);
}

template <class Statistic, class T, class Prologue>
class ColumnTiles {
 public:
  ColumnTiles(const AxisForward<T>& arguments, const Prologue& prologue)
      : a_(arguments), prologue_(prologue) {}

  void run() const {
    const Tiles tiles = plan_tiles(a_.outer, a_.inner);
    parallel_for(tiles.count, a_.reduced * tiles.width, [&](std::int64_t task) {
      with_tile(tiles, task, a_.inner,
                [&](std::int64_t outer, std::int64_t begin, std::int64_t columns) {
        make(outer, begin, columns);
        normalise(outer, begin, columns);
      });
    });
  }

 private:
  void make(std::int64_t outer, std::int64_t begin, std::int64_t columns) const {
    auto worker = prologue_.worker(outer, outer + 1);
    if (columns == a_.inner) return worker.make(outer, 0, a_.reduced * a_.inner);
    for (std::int64_t r = 0; r < a_.reduced; ++r) {
      worker.make(outer, r * a_.inner + begin, columns);
    }
  }

  void normalise(std::int64_t outer, std::int64_t begin, std::int64_t columns) const {
    const AxisForward<T> a = a_;
    const T* x = a.x + outer * a.x_outer_stride + begin;
    T* y = a.y + outer * a.y_outer_stride + begin;
    Scratch<double> scratch(column_scratch_size(columns));
    Scratch<Statistic> statistics(columns);
    column_statistics(Block<T>{x, a.reduced, columns, a.inner}, scratch.data(), statistics.data());
    ColumnNormalisers normalisers(columns);
    for (std::int64_t j = 0; j < columns; ++j) {
      const Normaliser n = finish(statistics[j], Runs<T>{x + j, a.reduced, 1, a.inner}, a.eps);
      normalisers.template set<T>(j, n);
      a.report(outer * a.inner + begin + j, n);
    }
    for (std::int64_t r = 0; r < a.reduced; ++r) {
      const pack w = splat(a.weight ? static_cast<double>(a.weight[r]) : 1.0);
      const pack b = splat(a.bias ? static_cast<double>(a.bias[r]) : 0.0);
      const auto weight_at = [&](std::int64_t, auto) { return w; };
      const auto bias_at = [&](std::int64_t, auto) { return b; };
      normalise_columns(x + r * a.inner, y + r * a.inner, columns, normalisers, 0, weight_at,
                        bias_at);
    }
  }

  AxisForward<T> a_;
  Prologue prologue_;
};

}  // namespace normdrop::NORMDROP_ISA
