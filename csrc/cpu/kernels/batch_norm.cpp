// Forward of batch norm (Ioffe, Szegedy 2015) of x (batch, channels, inner), one mean and var per
// channel.
//   y = (x - mean) * inv_std * weight + bias
// inner > 1 (NCHW): a channel at a time, its output written while it is in cache; chunks of
//   channels are tasks where channels are few. inner == 1 (NHWC, 2-D): rows of channels, column
//   reductions over fixed slots of rows, merged in order.
#include "cpu/engines/batch_norm.h"
#include "cpu/engines/channel_lines.h"
#include "cpu/engines/columns.h"
#include "cpu/engines/parameters.h"
#include "cpu/engines/slots.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

// The elements of one channel.
template <class T, class Arguments>
Runs<T> channel_runs(const Arguments& a, std::int64_t channel) {
  return {static_cast<const T*>(a.x) + channel * a.inner, a.batch, a.inner, a.x_batch_stride};
}

void report(const BatchNormForward& a, std::int64_t channel, const Normaliser& n) {
  a.mean[channel] = reported_mean(n);
  a.var[channel] = reported_var(n);
  a.inv_std[channel] = reported_inv_std(n);
}

// Writes the part of a channel that a chunk of its plan covers.
template <class T, class Arguments>
void write_chunk(const Arguments& a, std::int64_t channel, const ChunkPlan& plan,
                 std::int64_t chunk, const Normaliser& n) {
  const Runs<T> all = channel_runs<T>(a, channel);
  const Runs<T> part = chunk_of(all, plan, chunk);
  const std::int64_t run = chunk / plan.chunks_per_run * plan.runs_per_chunk;
  const std::int64_t begin = chunk % plan.chunks_per_run * plan.length_per_chunk;
  T* y = static_cast<T*>(a.y) + channel * a.inner + run * a.y_batch_stride + begin;
  const ChannelPass<T, true> pass(n, parameter<T>(a.weight, channel, 1.0),
                                  parameter<T>(a.bias, channel, 0.0),
                                  writing_of_runs<T>(a, a.y, a.y_batch_stride));
  const std::int64_t y_stride = a.y_batch_stride;
  const auto write = [&](auto length) NORMDROP_LAMBDA_INLINE {
    for (std::int64_t r = 0; r < part.runs; ++r) {
      pass.run(part.x + r * part.stride, y + r * y_stride, length);
    }
  };
  with_length_of<T>(part.length, write);
}

template <class T>
void forward_channels(const BatchNormForward& a) {
  const ChunkPlan plan = plan_chunks<T>(a.batch, a.inner);
  parallel_for(a.channels, a.batch * a.inner, [&](std::int64_t channel) {
    const Normaliser n = normaliser_of(channel_runs<T>(a, channel), a.eps);
    report(a, channel, n);
    for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      write_chunk<T>(a, channel, plan, chunk, n);
    }
  });
}

// Few channels: the chunks of all channels are the tasks. The tree is that of run_moments.
template <class T>
void forward_channel_chunks(const BatchNormForward& a) {
  const ChunkPlan plan = plan_chunks<T>(a.batch, a.inner);
  const std::int64_t chunk_elements = plan.runs_per_chunk * plan.length_per_chunk;
  Scratch<Moments> chunk(a.channels * plan.chunks);
  Scratch<Normaliser> normalisers(a.channels);
  parallel_for(a.channels * plan.chunks, chunk_elements, [&](std::int64_t task) {
    const Runs<T> runs = channel_runs<T>(a, task / plan.chunks);
    chunk[task] = chunk_moments<false>(chunk_of(runs, plan, task % plan.chunks));
  });
  for (std::int64_t channel = 0; channel < a.channels; ++channel) {
    const Moments moments =
        plan.chunks == 1 ? chunk[channel] : merge(&chunk[channel * plan.chunks], plan.chunks);
    normalisers[channel] = finish(moments, channel_runs<T>(a, channel), a.eps);
    report(a, channel, normalisers[channel]);
  }
  parallel_for(a.channels * plan.chunks, chunk_elements, [&](std::int64_t task) {
    const std::int64_t channel = task / plan.chunks;
    write_chunk<T>(a, channel, plan, task % plan.chunks, normalisers[channel]);
  });
}

// Channels-last parameters as packs of columns; absent ones are 1 and 0.
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

// Rows of channels, whose normalisers come from normaliser_at(channel).
template <class T, bool finite, class Arguments, class NormaliserAt>
void write_rows(const Arguments& a, NormaliserAt&& normaliser_at) {
  if constexpr (is_narrow<T>) {
    ChannelLines lines(a.channels);
    parallel_for(a.channels, cpu::tuning::elements_per_channel, [&](std::int64_t c) {
      lines.set(c, normaliser_at(c), parameter<T>(a.weight, c, 1.0), parameter<T>(a.bias, c, 0.0));
    });
    lines.close();
    const Writing how = writing_of<T>(a.y, a.channels, a.y_batch_stride, a.batch * a.channels);
    for_each_row_tile(a.batch, a.channels,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      lines.template write<finite>(static_cast<const T*>(a.x) + row * a.x_batch_stride + begin,
                                   static_cast<T*>(a.y) + row * a.y_batch_stride + begin, begin,
                                   count, how);
    });
  } else {
    ColumnNormalisers normalisers(a.channels);
    for (std::int64_t c = 0; c < a.channels; ++c) normalisers.set<T>(c, normaliser_at(c));
    for_each_row_tile(a.batch, a.channels,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      const ColumnParameter<T> weight{static_cast<const T*>(a.weight), 1.0, begin};
      const ColumnParameter<T> bias{static_cast<const T*>(a.bias), 0.0, begin};
      normalise_columns<finite>(static_cast<const T*>(a.x) + row * a.x_batch_stride + begin,
                                static_cast<T*>(a.y) + row * a.y_batch_stride + begin, count,
                                normalisers, begin, weight, bias);
    });
  }
}

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
Block<T> rows_of_slot(const BatchNormForward& a, const Slots& slots, std::int64_t slot,
                      std::int64_t begin, std::int64_t columns) {
  const std::int64_t first = slots.begin(slot);
  return {static_cast<const T*>(a.x) + first * a.x_batch_stride + begin,
          slots.end(slot, a.batch) - first, columns, a.x_batch_stride};
}

// Not float64: all slots share one centre per channel, so that their sums simply add.
template <class T>
void channel_moments_of_rows(const BatchNormForward& a, Moments* moments, T) {
  const Slots slots = plan_slots(a.batch, a.channels);
  const std::int64_t width = padded(a.channels);
  Scratch<double> centre(width);
  Scratch<double> partial((slots.count + 1) * 2 * width);
  const T* x = static_cast<const T*>(a.x);
  column_centres(Block<T>{x, a.batch, a.channels, a.x_batch_stride}, centre.data());
  for_each_slot_tile(slots, a.channels,
                     [&](std::int64_t slot, std::int64_t begin, std::int64_t count) {
    double* total = &partial[slot * 2 * width] + begin;
    column_deviations(rows_of_slot<T>(a, slots, slot, begin, count), &centre[begin], total,
                      total + width);
  });
  double* total = &partial[slots.count * 2 * width];
  merge_slots<T>(partial.data(), slots.count, 2 * width, 2 * width, total);
  for (std::int64_t c = 0; c < a.channels; ++c) {
    moments[c] = moments_about(centre[c], total[c], total[width + c], static_cast<double>(a.batch));
  }
}

void channel_moments_of_rows(const BatchNormForward& a, Moments* moments, double) {
  const Slots slots = plan_slots(a.batch, a.channels);
  Scratch<Moments> partial(slots.count * a.channels);
  for_each_slot_tile(slots, a.channels,
                     [&](std::int64_t slot, std::int64_t begin, std::int64_t count) {
    Scratch<double> scratch(column_scratch_size(count));
    column_moments(rows_of_slot<double>(a, slots, slot, begin, count), scratch.data(),
                   &partial[slot * a.channels + begin]);
  });
  parallel_for(a.channels, slots.count * 16,
               [&](std::int64_t c) { moments[c] = merge(&partial[c], slots.count, a.channels); });
}

template <class T>
void forward_rows(const BatchNormForward& a) {
  Scratch<Moments> moments(a.channels);
  channel_moments_of_rows(a, moments.data(), T());
  write_rows<T, true>(a, [&](std::int64_t channel) {
    const Normaliser n = finish(moments[channel], channel_runs<T>(a, channel), a.eps);
    report(a, channel, n);
    return n;
  });
}

template <class T>
void forward(const BatchNormForward& a) {
  if (a.inner == 1) return forward_rows<T>(a);
  few_channels(a.channels) ? forward_channel_chunks<T>(a) : forward_channels<T>(a);
}

Normaliser running_normaliser(const BatchNormInference& a, std::int64_t channel) {
  const double_double sum = two_sum(a.var[channel], a.eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  const double_double inv_std = sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
  return {{a.mean[channel], 0.0}, inv_std, a.var[channel], 1.0};
}

template <class T>
void inference(const BatchNormInference& a) {
  if (a.inner == 1) {
    return write_rows<T, false>(a, [&](std::int64_t c) { return running_normaliser(a, c); });
  }
  const Writing how = writing_of_runs<T>(a, a.y, a.y_batch_stride);
  parallel_for(a.batch * a.channels, a.inner, [&](std::int64_t task) {
    const std::int64_t channel = task % a.channels;
    const std::int64_t row = task / a.channels;
    const T* x = static_cast<const T*>(a.x) + row * a.x_batch_stride + channel * a.inner;
    T* y = static_cast<T*>(a.y) + row * a.y_batch_stride + channel * a.inner;
    const ChannelPass<T, false> pass(running_normaliser(a, channel),
                                     parameter<T>(a.weight, channel, 1.0),
                                     parameter<T>(a.bias, channel, 0.0), how);
    pass.run(x, y, any_length{a.inner});
  });
}

}  // namespace

void batch_norm_forward(const BatchNormForward& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormForward& a) {
    for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
  });
}

void batch_norm_inference(const BatchNormInference& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormInference& a) {
    for_dtype(a.dtype, [&](auto element) { inference<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
