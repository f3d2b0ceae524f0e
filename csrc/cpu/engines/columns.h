// Sets that are columns of rows of channels (channels-last, 2-D), with a weight and a bias for each
// column: reductions over fixed slots of rows, merged in order, then a pass over the rows.
#pragma once

#include "cpu/arithmetic/mean_and_variance.h"
#include "cpu/engines/channel_lines.h"
#include "cpu/engines/column_normalisers.h"
#include "cpu/engines/parameters.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

// Calls body(slot, begin, count) for every slot of rows and every tile of columns.
template <class Body>
void for_each_slot_tile(const Slots& slots, std::int64_t columns, Body&& body) {
  const std::int64_t width = cpu::tuning::column_tile;
  const std::int64_t tiles = (columns + width - 1) / width;
  parallel_for(slots.count * tiles, slots.rows * (columns < width ? columns : width),
               [&](std::int64_t task) {
    const std::int64_t begin = task % tiles * width;
    body(task / tiles, begin, columns - begin < width ? columns - begin : width);
  });
}

template <class T>
Block<T> rows_of_slot(const Block<T>& in, const Slots& slots, std::int64_t slot, std::int64_t begin,
                      std::int64_t columns) {
  const std::int64_t first = slots.begin(slot);
  return {in.x + first * in.row_stride + begin, slots.end(slot, in.rows) - first, columns,
          in.row_stride};
}

// The moments of every column where all slots share one centre per column, so that their sums simply
// add: of float32 and the half types.
template <class T>
NORMDROP_OUT_OF_LINE void column_moments_in_slots(const Block<T>& in, Moments* moments) {
  const Slots slots = plan_slots(in.rows, in.columns);
  const std::int64_t width = padded(in.columns);
  Scratch<double> centre(width);
  Scratch<double> partial((slots.count + 1) * 2 * width);
  column_centres(in, centre.data());
  for_each_slot_tile(slots, in.columns,
                     [&](std::int64_t slot, std::int64_t begin, std::int64_t count) {
    double* total = &partial[slot * 2 * width] + begin;
    column_deviations(rows_of_slot(in, slots, slot, begin, count), &centre[begin], total,
                      total + width);
  });
  double* total = &partial[slots.count * 2 * width];
  merge_slots<T>(partial.data(), slots.count, 2 * width, 2 * width, total);
  const double rows = static_cast<double>(in.rows);
  for (std::int64_t c = 0; c < in.columns; ++c) {
    moments[c] = moments_about(centre[c], total[c], total[width + c], rows);
  }
}

// The partial statistic of every column.
template <class Part, class T>
NORMDROP_OUT_OF_LINE void column_parts_in_slots(const Block<T>& in, Part* parts) {
  if constexpr (Part::centred && is_narrow<T>) {
    column_moments_in_slots(in, parts);
  } else {
    const Slots slots = plan_slots(in.rows, in.columns);
    Scratch<Part> partial(slots.count * in.columns);
    for_each_slot_tile(slots, in.columns,
                       [&](std::int64_t slot, std::int64_t begin, std::int64_t count) {
      Scratch<double> scratch(column_scratch_size(count));
      column_parts(rows_of_slot(in, slots, slot, begin, count), scratch.data(),
                   &partial[slot * in.columns + begin]);
    });
    parallel_for(in.columns, slots.count * cpu::tuning::elements_per_merged_moment,
                 [&](std::int64_t c) { parts[c] = merge(&partial[c], slots.count, in.columns); });
  }
}

// Calls body(row, begin, count) for every row and every tile of its columns, so that what belongs
// to a tile's columns stays in L1 for a block of rows. Blocks come in falling order: what an
// earlier pass read last is what the caches still hold.
template <class Body>
NORMDROP_INLINE void for_each_row_tile(std::int64_t rows, std::int64_t columns, Body&& body) {
  constexpr std::int64_t tile = cpu::tuning::column_tile;
  constexpr std::int64_t block_elements = cpu::tuning::row_block_elements;
  const std::int64_t per_block = columns < block_elements ? block_elements / columns : 1;
  const std::int64_t blocks = (rows + per_block - 1) / per_block;
  parallel_for(blocks, per_block * columns, [&](std::int64_t block) {
    const std::int64_t first = (blocks - 1 - block) * per_block;
    const std::int64_t end = rows - first < per_block ? rows : first + per_block;
    for (std::int64_t begin = 0; begin < columns; begin += tile) {
      const std::int64_t count = columns - begin < tile ? columns - begin : tile;
      for (std::int64_t row = first; row < end; ++row) body(row, begin, count);
    }
  });
}

// Where the rows of a block are written, and with what.
template <class T>
struct ColumnOutput {
  T* y;
  std::int64_t row_stride;
  const wide<T>* weight;  // (columns,) or null
  const wide<T>* bias;    // (columns,) or null
};

// A parameter of the columns from `begin` on as packs; absent ones are 1 and 0.
template <class T>
struct ColumnParameter {
  const T* values;
  double otherwise;
  std::int64_t begin;
  template <class Extent>
  NORMDROP_LAMBDA_INLINE pack operator()(std::int64_t j, Extent extent) const {
    return values ? load(values + begin + j, extent) : splat(otherwise);
  }
};

// Normalises all rows; column c takes normaliser_at(c). For `finite` see on_line and normalise.
template <bool finite, class T, class NormaliserAt>
void write_columns(const Block<T>& block, const ColumnOutput<T>& output,
                   NormaliserAt&& normaliser_at) {
  const Block<T> in = block;
  const ColumnOutput<T> out = output;
  if constexpr (is_narrow<T>) {
    ChannelLines lines(in.columns);
    parallel_for(in.columns, cpu::tuning::elements_per_channel, [&](std::int64_t c) {
      lines.set(c, normaliser_at(c), parameter<T>(out.weight, c, 1.0),
                parameter<T>(out.bias, c, 0.0));
    });
    lines.close();
    const Writing how = writing_of<T>(out.y, in.columns, out.row_stride, in.rows * in.columns);
    for_each_row_tile(in.rows, in.columns,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      lines.template write<finite>(in.x + row * in.row_stride + begin,
                                   out.y + row * out.row_stride + begin, begin, count, how);
    });
  } else {
    ColumnNormalisers normalisers(in.columns);
    for (std::int64_t c = 0; c < in.columns; ++c) normalisers.set<T>(c, normaliser_at(c));
    for_each_row_tile(in.rows, in.columns,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      const ColumnParameter<T> weight{out.weight, 1.0, begin};
      const ColumnParameter<T> bias{out.bias, 0.0, begin};
      normalise_columns<finite>(in.x + row * in.row_stride + begin,
                                out.y + row * out.row_stride + begin, count, normalisers, begin,
                                weight, bias);
    });
  }
}

}  // namespace normdrop::NORMDROP_ISA
