// Sets that are columns of rows of channels (channels-last, 2-D), with a weight and a bias for each
// column: reductions over fixed slots of rows, merged in order, then a pass over the rows.
#pragma once

#include "cpu/arithmetic/mean_and_variance.h"
#include "cpu/engines/channel_lines.h"
#include "cpu/engines/column_normalisers.h"
#include "cpu/engines/narrow_rows.h"
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
NORMDROP_OUT_OF_LINE void wide_column_parts(const Block<T>& in, Part* parts) {
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

// The same; narrow rows are seen several as one, and a column's parts then merged.
template <class Part, class T>
NORMDROP_OUT_OF_LINE void column_parts_in_slots(const Block<T>& in, Part* parts) {
  const NarrowRows rows = plan_summed_rows(in.rows, in.columns);
  if (rows.together == 1) return wide_column_parts(in, parts);
  const PackedRows<T> packed(in.x, in.rows, in.columns, in.row_stride);
  const std::int64_t full = rows.full_rows();
  const std::int64_t left = in.rows - full * rows.together;
  Scratch<Part> partial(rows.columns + in.columns);
  wide_column_parts(Block<T>{packed.data(), full, rows.columns, rows.columns}, partial.data());
  if (left > 0) {
    const T* rest = packed.data() + full * rows.columns;
    wide_column_parts(Block<T>{rest, left, in.columns, in.columns}, &partial[rows.columns]);
  }
  for (std::int64_t c = 0; c < in.columns; ++c) {
    parts[c] = merge(&partial[c], rows.together + (left > 0 ? 1 : 0), in.columns);
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

// Calls body(row, begin, count) for all rows as they are seen; see for_each_row_tile.
template <class Body>
NORMDROP_INLINE void for_each_narrow_tile(const NarrowRows& rows, Body&& body) {
  for_each_row_tile(rows.full_rows(), rows.columns, body);
  if (rows.full_rows() == rows.rows) return;
  parallel_for(1, rows.last, [&](std::int64_t) {  // which ends what is streamed
    body(rows.full_rows(), std::int64_t{0}, rows.last);
  });
}

// In blocks of channels: at inference their roots and divisions are vectors.
template <class NormaliserAt>
void set_lines(const LineStatistics& statistics, std::int64_t channels,
               NormaliserAt&& normaliser_at) {
  constexpr std::int64_t block = cpu::tuning::channels_per_task;
  parallel_for((channels + block - 1) / block, block * cpu::tuning::elements_per_channel,
               [&](std::int64_t task) {
    const LineStatistics to = statistics;
    const std::int64_t end = channels - task * block < block ? channels : (task + 1) * block;
#pragma omp simd
    for (std::int64_t c = task * block; c < end; ++c) to.set(c, normaliser_at(c));
  });
}

// Normalises all rows; column c takes normaliser_at(c). For `training` see ChannelPass.
template <bool training, class T, class NormaliserAt>
void write_columns(const Block<T>& block, const ColumnOutput<T>& output,
                   NormaliserAt&& normaliser_at) {
  const Block<T> in = block;
  const ColumnOutput<T> out = output;
  const bool without_gaps = in.row_stride == in.columns && out.row_stride == in.columns;
  const NarrowRows rows = plan_written_rows(in.rows, in.columns, without_gaps);
  const std::int64_t x_stride = without_gaps ? rows.columns : in.row_stride;
  const std::int64_t y_stride = without_gaps ? rows.columns : out.row_stride;
  if constexpr (is_narrow<T>) {
    ChannelLines lines(rows.columns, in.columns);
    set_lines(lines.statistics(), in.columns, normaliser_at);
    lines.close(out.weight, out.bias);
    const Writing how = writing_of<T>(out.y, rows.columns, y_stride, in.rows * in.columns);
    for_each_narrow_tile(rows, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      lines.template write<training>(in.x + row * x_stride + begin, out.y + row * y_stride + begin,
                                     begin, count, how);
    });
  } else {
    ColumnNormalisers normalisers(rows.columns);
    for (std::int64_t c = 0; c < in.columns; ++c) {
      const Normaliser n = normaliser_at(c);
      for (std::int64_t j = c; j < rows.columns; j += in.columns) normalisers.set<T>(j, n);
    }
    const RowsParameter<T> weights(out.weight, in.columns, rows.together);
    const RowsParameter<T> biases(out.bias, in.columns, rows.together);
    for_each_narrow_tile(rows, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      const ColumnParameter<T> weight{weights.data(), 1.0, begin};
      const ColumnParameter<T> bias{biases.data(), 0.0, begin};
      normalise_columns<training>(in.x + row * x_stride + begin, out.y + row * y_stride + begin,
                                  count, normalisers, begin, weight, bias);
    });
  }
}

}  // namespace normdrop::NORMDROP_ISA
