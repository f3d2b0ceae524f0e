// Sets that are columns of (outer, rows, columns), with a weight and a bias for each row: tiles of
// neighbouring columns are tasks, each from its first row to its last, statistics before output.
#pragma once

#include "cpu/arithmetic/column_moments.h"
#include "cpu/engines/axis.h"
#include "cpu/engines/column_normalisers.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

struct ColumnShape {
  std::int64_t outer;
  std::int64_t rows;
  std::int64_t columns;
};

// Where x or y lies: rows are dense, outer indices apart from each other.
template <class T>
struct ColumnArray {
  T* data;
  std::int64_t outer_stride;
};

// Tiles of neighbouring columns of one outer index.
struct Tiles {
  std::int64_t width;
  std::int64_t per_outer;
  std::int64_t count;
  std::int64_t columns;
  std::int64_t outer(std::int64_t tile) const { return tile / per_outer; }
  std::int64_t begin(std::int64_t tile) const { return tile % per_outer * width; }
  std::int64_t size(std::int64_t tile) const {
    const std::int64_t left = columns - begin(tile);
    return left < width ? left : width;
  }
};

NORMDROP_INLINE Tiles plan_tiles(std::int64_t outer, std::int64_t columns) {
  const std::int64_t most = cpu::tuning::column_tile;
  const std::int64_t width = columns < most ? columns : most;
  const std::int64_t per_outer = (columns + width - 1) / width;
  return {width, per_outer, outer * per_outer, columns};
}

// x and y begin at the tile's first column; report(j, normaliser) takes its j-th column's.
template <class T, class Statistic, class Report>
void forward_column_tile(const Block<T>& block, T* y, const wide<T>* weight, const wide<T>* bias,
                         Statistic statistic, Report report) {
  const Block<T> in = block;
  Scratch<double> scratch(column_scratch_size(in.columns));
  Scratch<typename Statistic::Part> parts(in.columns);
  statistic.columns(in, scratch.data(), parts.data());
  ColumnNormalisers normalisers(in.columns);
  for (std::int64_t j = 0; j < in.columns; ++j) {
    const Normaliser n = statistic.finish(parts[j], Runs<T>{in.x + j, in.rows, 1, in.row_stride});
    normalisers.set<T>(j, n);
    report(j, n);
  }
  for (std::int64_t r = 0; r < in.rows; ++r) {
    const pack w = splat(weight ? static_cast<double>(weight[r]) : 1.0);
    const pack b = splat(bias ? static_cast<double>(bias[r]) : 0.0);
    const auto weight_at = [&](std::int64_t, auto) { return w; };
    const auto bias_at = [&](std::int64_t, auto) { return b; };
    normalise_columns(in.x + r * in.row_stride, y + r * in.row_stride, in.columns, normalisers, 0,
                      weight_at, bias_at);
  }
}

static inline void make_column_tile(ColumnShape shape, std::int64_t outer, std::int64_t begin,
                                    std::int64_t columns, const Prologue& prologue) {
  auto worker = prologue.worker(outer + 1);
  if (columns == shape.columns) return worker.make(outer, {0, shape.rows * shape.columns});
  for (std::int64_t r = 0; r < shape.rows; ++r) {
    worker.make(outer, {r * shape.columns + begin, columns});
  }
}

// report(index, normaliser) takes the set's, counted in (outer, columns). The prologue (axis.h) makes
// a tile before it is read.
template <class T, class Statistic, class Report>
void forward_column_tiles(ColumnShape shape, ColumnArray<const T> x, ColumnArray<T> y,
                          const wide<T>* weight, const wide<T>* bias, Statistic statistic,
                          Report report, const Prologue& prologue = {}) {
  const Tiles tiles = plan_tiles(shape.outer, shape.columns);
  parallel_for(tiles.count, shape.rows * tiles.width, [&](std::int64_t tile) {
    const std::int64_t outer = tiles.outer(tile);
    const std::int64_t begin = tiles.begin(tile);
    const Block<T> block{x.data + outer * x.outer_stride + begin, shape.rows, tiles.size(tile),
                         shape.columns};
    const std::int64_t first_set = outer * shape.columns + begin;
    make_column_tile(shape, outer, begin, tiles.size(tile), prologue);
    forward_column_tile(block, y.data + outer * y.outer_stride + begin, weight, bias, statistic,
                        [=](std::int64_t j, const Normaliser& n) { report(first_set + j, n); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
