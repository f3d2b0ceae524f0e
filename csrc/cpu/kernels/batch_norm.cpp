// Batch norm (Ioffe, Szegedy 2015) of x (batch, channels, inner), one mean and var per channel.
//   forward   y = (x - mean) * inv_std * weight + bias
//   backward  grad_x = inv_std * weight * (grad_output - mean(grad_output) - x^ * mean(grad_output * x^))
//             frozen statistics leave the two means out
//             grad_weight = sum grad_output * x^,  grad_bias = sum grad_output
// inner > 1 (NCHW): a channel at a time, its output written while it is in cache; chunks of
//   channels are tasks where channels are few. inner == 1 (NHWC, 2-D): rows of channels, column
//   reductions over fixed slots of rows, merged in order.
#include "cpu/kernels/backward.h"
#include "cpu/kernels/columns.h"
#include "cpu/kernels/kernels.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
double parameter(const void* values, std::int64_t channel, double otherwise) {
  return values ? static_cast<double>(static_cast<const T*>(values)[channel]) : otherwise;
}

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
  const double weight = parameter<T>(a.weight, channel, 1.0);
  const double bias = parameter<T>(a.bias, channel, 0.0);
  for (std::int64_t r = 0; r < part.runs; ++r) {
    normalise_channel_run(part.x + r * part.stride, y + r * a.y_batch_stride, part.length, n,
                          weight, bias);
  }
}

bool few_channels(std::int64_t channels) { return channels < cpu::thread_count() * 4; }

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
    const Moments moments = plan.chunks == 1 ? chunk[channel]
                                             : merge(&chunk[channel * plan.chunks], plan.chunks);
    normalisers[channel] = finish(moments, channel_runs<T>(a, channel), a.eps);
    report(a, channel, normalisers[channel]);
  }
  parallel_for(a.channels * plan.chunks, chunk_elements, [&](std::int64_t task) {
    const std::int64_t channel = task / plan.chunks;
    write_chunk<T>(a, channel, plan, task % plan.chunks, normalisers[channel]);
  });
}

// Channels-last parameters as groups of columns; absent ones are 1 and 0.
template <class T>
struct ColumnParameter {
  const T* values;
  double otherwise;
  template <class Extent>
  NORMDROP_LAMBDA_INLINE group operator()(std::int64_t j, Extent extent) const {
    return values ? load(values + j, extent) : splat(otherwise);
  }
};

template <class T, class Arguments>
void write_rows(const Arguments& a, ColumnNormalisers& normalisers) {
  const ColumnParameter<T> weight{static_cast<const T*>(a.weight), 1.0};
  const ColumnParameter<T> bias{static_cast<const T*>(a.bias), 0.0};
  if constexpr (sizeof(T) == 4) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      normalisers.fold(c, parameter<T>(a.weight, c, 1.0), parameter<T>(a.bias, c, 0.0));
    }
  }
  parallel_for(a.batch, a.channels, [&](std::int64_t row) {
    const T* x = static_cast<const T*>(a.x) + row * a.x_batch_stride;
    T* y = static_cast<T*>(a.y) + row * a.y_batch_stride;
    if constexpr (sizeof(T) == 4) {
      normalise_folded_columns(x, y, a.channels, normalisers);
    } else {
      normalise_columns(x, y, a.channels, normalisers, weight, bias);
    }
  });
}

template <class T>
void forward_rows(const BatchNormForward& a) {
  const Slots slots = plan_slots(a.batch);
  const std::int64_t width = cpu::tuning::column_tile;
  const std::int64_t tiles = (a.channels + width - 1) / width;
  Scratch<Moments> moments(slots.count * a.channels);
  parallel_for(slots.count * tiles, slots.rows * (a.channels < width ? a.channels : width),
               [&](std::int64_t task) {
                 const std::int64_t slot = task / tiles;
                 const std::int64_t begin = task % tiles * width;
                 const std::int64_t columns =
                     a.channels - begin < width ? a.channels - begin : width;
                 const T* x = static_cast<const T*>(a.x) + begin;
                 const Block<T> block{x + slots.begin(slot) * a.x_batch_stride,
                                      slots.end(slot, a.batch) - slots.begin(slot), columns,
                                      a.x_batch_stride};
                 Scratch<double> scratch(column_scratch_size(columns));
                 column_moments<false>(block, scratch.data(),
                                       &moments[slot * a.channels + begin]);
               });
  ColumnNormalisers normalisers(a.channels);
  for (std::int64_t channel = 0; channel < a.channels; ++channel) {
    const Moments merged = merge(&moments[channel], slots.count, a.channels);
    const Normaliser n = finish(merged, channel_runs<T>(a, channel), a.eps);
    report(a, channel, n);
    normalisers.set<T>(channel, n);
  }
  write_rows<T>(a, normalisers);
}

template <class T>
void forward(const BatchNormForward& a) {
  if (a.inner == 1) return forward_rows<T>(a);
  few_channels(a.channels) ? forward_channel_chunks<T>(a) : forward_channels<T>(a);
}

Normaliser running_normaliser(const BatchNormInference& a, std::int64_t channel) {
  const double_double sum = two_sum(a.var[channel], a.eps);
  // A variance of 0 with eps = 0 cannot be divided by: the output is the bias, as in training.
  const double_double inv_std =
      sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
  return {{a.mean[channel], 0.0}, inv_std, a.var[channel], 1.0};
}

template <class T>
void inference(const BatchNormInference& a) {
  if (a.inner == 1) {
    ColumnNormalisers normalisers(a.channels);
    for (std::int64_t c = 0; c < a.channels; ++c) normalisers.set<T>(c, running_normaliser(a, c));
    return write_rows<T>(a, normalisers);
  }
  parallel_for(a.batch * a.channels, a.inner, [&](std::int64_t task) {
    const std::int64_t channel = task % a.channels;
    const std::int64_t row = task / a.channels;
    const T* x = static_cast<const T*>(a.x) + row * a.x_batch_stride + channel * a.inner;
    T* y = static_cast<T*>(a.y) + row * a.y_batch_stride + channel * a.inner;
    normalise_channel_run(x, y, a.inner, running_normaliser(a, channel),
                          parameter<T>(a.weight, channel, 1.0),
                          parameter<T>(a.bias, channel, 0.0));
  });
}

// Backward, inner > 1.
template <class T>
struct ChannelBackward {
  const BatchNormBackward& a;
  std::int64_t channel;

  const T* x(std::int64_t row) const {
    return static_cast<const T*>(a.x) + row * a.x_batch_stride + channel * a.inner;
  }
  const T* grad_output(std::int64_t row) const {
    return static_cast<const T*>(a.grad_output) + row * a.grad_output_batch_stride +
           channel * a.inner;
  }

  RowSums sums(std::int64_t begin, std::int64_t end) const {
    const group mean = splat(a.mean[channel]);
    const group inv_std = splat(a.inv_std[channel]);
    group sum_g = splat(0.0);
    group sum_gx = splat(0.0);
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      for_each_group(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const group g = load(grads + i, extent);
        const group xh = keep((load(values + i, extent) - mean) * inv_std, extent);
        sum_g = sum_g + g;
        sum_gx = multiply_add(g, xh, sum_gx);
      });
    }
    return {sum_of_lanes(sum_g), sum_of_lanes(sum_gx)};
  }

  void write(std::int64_t begin, std::int64_t end, const RowSums& sum) const {
    const double reciprocal =
        a.frozen ? 0.0 : 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
    const group mean = splat(a.mean[channel]);
    const group inv_std = splat(a.inv_std[channel]);
    const group factor = splat(a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0));
    const group mean_g = splat(sum.g * reciprocal);
    const group mean_gx = splat(sum.gx * reciprocal);
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      T* out = static_cast<T*>(a.grad_x) + row * a.grad_x_batch_stride + channel * a.inner;
      for_each_group(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        group g = load(grads + i, extent);
        if (!a.frozen) {
          const group xh = (load(values + i, extent) - mean) * inv_std;
          g = (g - mean_g) - xh * mean_gx;
        }
        store(out + i, g * factor, extent);
      });
    }
  }

  // The passes in single precision; see float_backward.h.
  FloatStats stats() const {
    if constexpr (sizeof(T) == 8) return {0.0f, 0.0f, 0.0f, false};
    FloatStats stats = float_stats(a.mean[channel], a.inv_std[channel]);
    if constexpr (sizeof(T) == 4) {
      bool ordinary = false;
      for (std::int64_t row = 0; row < a.batch && row < 16 && !ordinary; ++row) {
        ordinary = has_ordinary_size(grad_output(row), a.inner);
      }
      stats.usable = stats.usable && ordinary;
    }
    return stats;
  }

  RowSums float_sums(std::int64_t begin, std::int64_t end, const FloatStats& stats) const {
    FloatSums sums;
    if constexpr (sizeof(T) == 4) {
      for (std::int64_t row = begin; row < end; ++row) {
        sums.template add_run<false>(x(row), grad_output(row), nullptr, a.inner, stats);
      }
    }
    return sums.total();
  }

  FloatSlopes slopes(const RowSums& sum, const FloatStats& stats) const {
    const double reciprocal =
        a.frozen ? 0.0 : 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
    return float_slopes(stats, a.inv_std[channel],
                        a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0),
                        sum.g * reciprocal, sum.gx * reciprocal);
  }

  void write_float(std::int64_t begin, std::int64_t end, const FloatStats& stats,
                   const FloatSlopes& slopes) const {
    const float_group minus_centre = splat_float(-stats.centre);
    const float_group slope_g = splat_float(slopes.slope_g);
    const float_group slope_x = splat_float(slopes.slope_x);
    const float_group shift = splat_float(slopes.shift);
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      T* out = static_cast<T*>(a.grad_x) + row * a.grad_x_batch_stride + channel * a.inner;
      for_each_group(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const float_group near = load_float(values + i, extent) + minus_centre;
        const float_group rest = multiply_add(near, slope_x, shift);
        store_float(out + i, multiply_add(load_float(grads + i, extent), slope_g, rest), extent);
      });
    }
  }

  void report(const RowSums& sum) const {
    if (a.grad_weight) static_cast<T*>(a.grad_weight)[channel] = static_cast<T>(sum.gx);
    if (a.grad_bias) static_cast<T*>(a.grad_bias)[channel] = static_cast<T>(sum.g);
  }
};

// How one channel's gradients are computed, once its sums are known.
struct ChannelPlan {
  RowSums sum;
  FloatStats stats;
  FloatSlopes slopes;
};

template <class T>
void write_channel(const ChannelBackward<T>& backward, std::int64_t begin, std::int64_t end,
                   const ChannelPlan& plan) {
  if constexpr (sizeof(T) == 4) {
    if (plan.slopes.usable) return backward.write_float(begin, end, plan.stats, plan.slopes);
  }
  backward.write(begin, end, plan.sum);
}

template <class T>
void backward_channels(const BatchNormBackward& a) {
  const Slots slots = plan_slots(a.batch);
  const auto sum_of_slots = [&](const RowSums* part) {
    RowSums total{0.0, 0.0};
    for (std::int64_t s = 0; s < slots.count; ++s) total.add(part[s]);
    return total;
  };
  const auto slot_sums = [&](const ChannelBackward<T>& backward, std::int64_t slot,
                             const FloatStats& stats) {
    const std::int64_t begin = slots.begin(slot);
    const std::int64_t end = slots.end(slot, a.batch);
    return stats.usable ? backward.float_sums(begin, end, stats) : backward.sums(begin, end);
  };
  Scratch<RowSums> sums(a.channels * slots.count);
  // The plan of a channel from its float sums, or from sums in double where those do not do.
  const auto plan_of = [&](std::int64_t channel, const FloatStats& stats) {
    const ChannelBackward<T> backward{a, channel};
    RowSums* part = &sums[channel * slots.count];
    ChannelPlan plan{sum_of_slots(part), stats, {}};
    if (stats.usable) plan.slopes = backward.slopes(plan.sum, stats);
    if (stats.usable && !plan.slopes.usable) {
      for (std::int64_t s = 0; s < slots.count; ++s) part[s] = slot_sums(backward, s, {});
      plan.sum = sum_of_slots(part);
    }
    backward.report(plan.sum);
    return plan;
  };
  if (!few_channels(a.channels)) {
    parallel_for(a.channels, a.batch * a.inner, [&](std::int64_t channel) {
      const ChannelBackward<T> backward{a, channel};
      const FloatStats stats = backward.stats();
      for (std::int64_t s = 0; s < slots.count; ++s) {
        sums[channel * slots.count + s] = slot_sums(backward, s, stats);
      }
      write_channel(backward, 0, a.batch, plan_of(channel, stats));
    });
    return;
  }
  parallel_for(a.channels * slots.count, slots.rows * a.inner, [&](std::int64_t task) {
    const ChannelBackward<T> backward{a, task / slots.count};
    sums[task] = slot_sums(backward, task % slots.count, backward.stats());
  });
  Scratch<ChannelPlan> plans(a.channels);
  for (std::int64_t channel = 0; channel < a.channels; ++channel) {
    plans[channel] = plan_of(channel, ChannelBackward<T>{a, channel}.stats());
  }
  parallel_for(a.channels * slots.count, slots.rows * a.inner, [&](std::int64_t task) {
    const std::int64_t slot = task % slots.count;
    const std::int64_t channel = task / slots.count;
    write_channel(ChannelBackward<T>{a, channel}, slots.begin(slot), slots.end(slot, a.batch),
                  plans[channel]);
  });
}

// Backward, inner == 1: columns of rows.
template <class T>
struct RowBackward {
  const BatchNormBackward& a;

  const T* x(std::int64_t row) const {
    return static_cast<const T*>(a.x) + row * a.x_batch_stride;
  }
  const T* grad_output(std::int64_t row) const {
    return static_cast<const T*>(a.grad_output) + row * a.grad_output_batch_stride;
  }

  // Adds K rows to the sums of every channel.
  template <int K>
  void add_rows(std::int64_t row, double* sum_g, double* sum_gx) const {
    for_each_group(a.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const group mean = load(a.mean + j, extent);
      const group inv_std = load(a.inv_std + j, extent);
      group g_sum = load(sum_g + j);
      group gx_sum = load(sum_gx + j);
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) {
        const group g = load(grad_output(row + k) + j, extent);
        const group xh = (load(x(row + k) + j, extent) - mean) * inv_std;
        g_sum = g_sum + g;
        gx_sum = multiply_add(g, xh, gx_sum);
      }
      store(sum_g + j, g_sum);
      store(sum_gx + j, gx_sum);
    });
  }

  // grad_x = grad_output * factor + x * slope + offset, the three of each channel.
  void write(std::int64_t row, const double* mean_g, const double* mean_gx,
             const double* factor) const {
    T* out = static_cast<T*>(a.grad_x) + row * a.grad_x_batch_stride;
    for_each_group(a.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      group g = load(grad_output(row) + j, extent);
      if (!a.frozen) {
        const group xh =
            (load(x(row) + j, extent) - load(a.mean + j, extent)) * load(a.inv_std + j, extent);
        g = (g - load(mean_g + j)) - xh * load(mean_gx + j);
      }
      store(out + j, g * load(factor + j), extent);
    });
  }
};

template <class T>
void backward_rows(const BatchNormBackward& a) {
  const Slots slots = plan_slots(a.batch);
  const std::int64_t width = padded(a.channels);
  const RowBackward<T> rows{a};
  Scratch<double> partial((slots.count + 1) * 2 * width);
  parallel_for(slots.count, slots.rows * a.channels, [&](std::int64_t slot) {
    double* sum_g = &partial[slot * 2 * width];
    double* sum_gx = sum_g + width;
    fill_zero(sum_g, 2 * width);
    const std::int64_t end = slots.end(slot, a.batch);
    std::int64_t row = slots.begin(slot);
    for (; row + 4 <= end; row += 4) rows.template add_rows<4>(row, sum_g, sum_gx);
    for (; row < end; ++row) rows.template add_rows<1>(row, sum_g, sum_gx);
  });
  double* sum_g = &partial[slots.count * 2 * width];
  double* sum_gx = sum_g + width;
  fill_zero(sum_g, 2 * width);
  merge_slots(partial.data(), slots.count, 2 * width, a.channels, sum_g);
  merge_slots(partial.data() + width, slots.count, 2 * width, a.channels, sum_gx);
  Scratch<double> factor(width);
  fill_zero(factor.data(), width);
  const double reciprocal = 1.0 / static_cast<double>(a.batch);
  for (std::int64_t c = 0; c < a.channels; ++c) {
    if (a.grad_weight) static_cast<T*>(a.grad_weight)[c] = static_cast<T>(sum_gx[c]);
    if (a.grad_bias) static_cast<T*>(a.grad_bias)[c] = static_cast<T>(sum_g[c]);
    sum_g[c] *= reciprocal;
    sum_gx[c] *= reciprocal;
    factor[c] = a.inv_std[c] * parameter<T>(a.weight, c, 1.0);
  }
  parallel_for(a.batch, a.channels, [&](std::int64_t row) {
    rows.write(row, sum_g, sum_gx, factor.data());
  });
}

template <class T>
void backward(const BatchNormBackward& a) {
  if (a.batch == 0 || a.inner == 0 || a.channels == 0) {
    fill_zero(static_cast<T*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<T*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  a.inner == 1 ? backward_rows<T>(a) : backward_channels<T>(a);
}

}  // namespace

void batch_norm_forward(const BatchNormForward& a) {
  a.dtype == DType::float32 ? forward<float>(a) : forward<double>(a);
}

void batch_norm_inference(const BatchNormInference& a) {
  a.dtype == DType::float32 ? inference<float>(a) : inference<double>(a);
}

void batch_norm_backward(const BatchNormBackward& a) {
  a.dtype == DType::float32 ? backward<float>(a) : backward<double>(a);
}

}  // namespace normdrop::NORMDROP_ISA
