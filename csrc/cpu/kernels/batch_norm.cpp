// Batch norm (Ioffe, Szegedy 2015) of x (batch, channels, inner), one mean and var per channel.
//   forward   y = (x - mean) * inv_std * weight + bias
//   backward  grad_x = inv_std * weight * (grad_output - mean(grad_output) - x^ * mean(grad_output * x^))
//             frozen statistics leave the two means out
//             grad_weight = sum grad_output * x^,  grad_bias = sum grad_output
// inner > 1 (NCHW): a channel at a time, its output written while it is in cache; chunks of
//   channels are tasks where channels are few. inner == 1 (NHWC, 2-D): rows of channels, column
//   reductions over fixed slots of rows, merged in order.
#include "ops/batch_norm.h"
#include "cpu/kernels/backward.h"
#include "cpu/kernels/columns.h"
#include "cpu/kernels/kernels.h"

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

// Channels-last parameters as groups of columns; absent ones are 1 and 0.
template <class T>
struct ColumnParameter {
  const T* values;
  double otherwise;
  std::int64_t begin;
  template <class Extent>
  NORMDROP_LAMBDA_INLINE group operator()(std::int64_t j, Extent extent) const {
    return values ? load(values + begin + j, extent) : splat(otherwise);
  }
};

template <class T, class Arguments>
void write_rows(const Arguments& a, ColumnNormalisers& normalisers) {
  if constexpr (sizeof(T) == 4) {
    for (std::int64_t c = 0; c < a.channels; ++c) {
      normalisers.fold(c, parameter<T>(a.weight, c, 1.0), parameter<T>(a.bias, c, 0.0));
    }
  }
  const bool streams =
      sizeof(T) == 4 && worth_streaming(a.y, a.y_batch_stride * 4, a.batch * a.channels * 4);
  for_each_row_tile(a.batch, a.channels,
                    [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
    const T* x = static_cast<const T*>(a.x) + row * a.x_batch_stride + begin;
    T* y = static_cast<T*>(a.y) + row * a.y_batch_stride + begin;
    if constexpr (sizeof(T) == 4) {
      if (streams) {
        normalise_folded_columns<true>(x, y, count, normalisers.arrays(begin));
      } else {
        normalise_folded_columns<false>(x, y, count, normalisers.arrays(begin));
      }
    } else {
      const ColumnParameter<T> weight{static_cast<const T*>(a.weight), 1.0, begin};
      const ColumnParameter<T> bias{static_cast<const T*>(a.bias), 0.0, begin};
      normalise_columns(x, y, count, normalisers, begin, weight, bias);
    }
  });
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

// float32: all slots share one centre per channel, so that their sums simply add.
void channel_moments_of_rows(const BatchNormForward& a, Moments* moments, float) {
  const Slots slots = plan_slots(a.batch, a.channels);
  const std::int64_t width = padded(a.channels);
  Scratch<double> centre(width);
  Scratch<double> partial((slots.count + 1) * 2 * width);
  const float* x = static_cast<const float*>(a.x);
  column_centres(Block<float>{x, a.batch, a.channels, a.x_batch_stride}, centre.data());
  for_each_slot_tile(slots, a.channels,
                     [&](std::int64_t slot, std::int64_t begin, std::int64_t count) {
    double* total = &partial[slot * 2 * width] + begin;
    column_deviations(rows_of_slot<float>(a, slots, slot, begin, count), &centre[begin], total,
                      total + width);
  });
  double* total = &partial[slots.count * 2 * width];
  merge_slots(partial.data(), slots.count, 2 * width, 2 * width, total);
  for (std::int64_t c = 0; c < a.channels; ++c) {
    moments[c] = moments_about(static_cast<double>(a.batch), centre[c], total[c], total[width + c]);
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
  ColumnNormalisers normalisers(a.channels);
  for (std::int64_t channel = 0; channel < a.channels; ++channel) {
    const Normaliser n = finish(moments[channel], channel_runs<T>(a, channel), a.eps);
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
  const double_double inv_std = sum.high == 0.0 ? double_double{0.0, 0.0} : inverse_sqrt(sum);
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
                          parameter<T>(a.weight, channel, 1.0), parameter<T>(a.bias, channel, 0.0));
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
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      for_each_group(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const group g = load(grads + i, extent);
        const group xh = keep((load(values + i, extent) - mean) * inv_std, extent);
        sum_g = add(sum_g, g);
        sum_gx = add_product(sum_gx, g, xh);
      });
    }
    return {total_of(sum_g), total_of(sum_gx)};
  }

  void write(std::int64_t begin, std::int64_t end, const RowSums& sum) const {
    const double reciprocal =
        a.frozen ? 0.0 : 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
    const group mean = splat(a.mean[channel]);
    const group inv_std = splat(a.inv_std[channel]);
    const group factor = splat(a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0));
    const group mean_g = splat(sum.g * reciprocal);
    const group mean_gx = splat(sum.gx * reciprocal);
    const bool frozen = a.frozen;
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      T* out = static_cast<T*>(a.grad_x) + row * a.grad_x_batch_stride + channel * a.inner;
      for_each_group(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        group g = load(grads + i, extent);
        if (!frozen) {
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

  template <bool streaming>
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
        store_or_stream<streaming>(
            out + i, multiply_add(load_float(grads + i, extent), slope_g, rest), extent);
      });
    }
  }

  bool streams() const {
    return a.inner % 16 == 0 &&
           worth_streaming(a.grad_x, a.grad_x_batch_stride * 4, a.batch * a.channels * a.inner * 4);
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
    if (plan.slopes.usable && backward.streams()) {
      return backward.template write_float<true>(begin, end, plan.stats, plan.slopes);
    }
    if (plan.slopes.usable) {
      return backward.template write_float<false>(begin, end, plan.stats, plan.slopes);
    }
  }
  backward.write(begin, end, plan.sum);
}

template <class T>
void backward_channels(const BatchNormBackward& a) {
  const Slots slots = plan_slots(a.batch, a.inner);
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

// Backward, inner == 1: columns of rows. Per-channel values are kept as rows of one array.
template <class T>
class RowBackward {
 public:
  explicit RowBackward(const BatchNormBackward& a)
      : a_(a),
        width_(padded(a.channels)),
        slots_(plan_slots(a.batch, a.channels)),
        values_(value_rows * width_),
        partial_((slots_.count + 1) * 4 * width_) {}

  void run() {
    choose_channels();
    if constexpr (sizeof(T) == 4) {
      if (channels_in_float_ > 0) {
        sum_slots<true>();
        merge_sums(sums());
        choose_slopes();
      }
    }
    if (channels_in_float_ < a_.channels) {
      sum_slots<false>();
      merge_sums(sums() + 2 * width_);
      take_double_sums();
    }
    plan_channels();
    if constexpr (sizeof(T) == 4) {
      if (channels_in_float_ > 0) return write_rows<true>();
    }
    write_rows<false>();
  }

 private:
  const T* x(std::int64_t row) const {
    return static_cast<const T*>(a_.x) + row * a_.x_batch_stride;
  }
  const T* grad_output(std::int64_t row) const {
    return static_cast<const T*>(a_.grad_output) + row * a_.grad_output_batch_stride;
  }
  double* doubles(int which) const { return values_.data() + which * width_; }
  float* floats(int which) const {
    return reinterpret_cast<float*>(values_.data() + 5 * width_) + which * width_;
  }

  // Rows of values_: 5 of doubles, 7 of floats (half as wide).
  static constexpr std::int64_t value_rows = 5 + 4;
  enum Doubles { mean, inv_std, mean_g, mean_gx, factor };
  enum Floats { centre, float_inv_std, offset, slope_g, slope_x, shift, in_float };

  // Which channels may take the passes in single precision; see float_backward.h.
  void choose_channels() {
    fill_zero(values_.data(), value_rows * width_);
    const std::int64_t looked_at = a_.batch < 64 ? a_.batch : 64;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      doubles(mean)[c] = a_.mean[c];
      doubles(inv_std)[c] = a_.inv_std[c];
    }
    if constexpr (sizeof(T) == 4 && has_fma) {
      float* largest = floats(in_float);
      for (std::int64_t row = 0; row < looked_at; ++row) {
        const float* grads = grad_output(row);
        for (std::int64_t c = 0; c < a_.channels; ++c) {
          const float magnitude = grads[c] < 0.0f ? -grads[c] : grads[c];
          largest[c] = magnitude > largest[c] ? magnitude : largest[c];
        }
      }
      for (std::int64_t c = 0; c < a_.channels; ++c) {
        FloatStats stats = float_stats(a_.mean[c], a_.inv_std[c]);
        stats.usable = stats.usable && within(largest[c], 0x1p-60, 0x1p+40);
        floats(centre)[c] = stats.centre;
        floats(float_inv_std)[c] = stats.inv_std;
        floats(offset)[c] = stats.offset;
        largest[c] = stats.usable ? 1.0f : 0.0f;
        channels_in_float_ += stats.usable ? 1 : 0;
      }
    }
  }

  template <bool in_single>
  void sum_slots() {
    parallel_for(slots_.count, slots_.rows * a_.channels, [&](std::int64_t slot) {
      double* sum_g = &partial_[slot * 4 * width_];
      fill_zero(sum_g, 4 * width_);
      const std::int64_t end = slots_.end(slot, a_.batch);
      std::int64_t row = slots_.begin(slot);
      if constexpr (in_single) {
        for (; row + 4 <= end; row += 4) add_rows_float<4>(row, sum_g, sum_g + width_);
        for (; row < end; ++row) add_rows_float<1>(row, sum_g, sum_g + width_);
      } else {
        for (; row < end; ++row) add_row(row, sum_g, sum_g + width_);
        fold_errors<T>(sum_g, 2 * width_, 2 * width_);
      }
    });
  }

  // Adds a row to the sums of every channel.
  void add_row(std::int64_t row, double* sum_g, double* sum_gx) const {
    const double* means = doubles(mean);
    const double* inv_stds = doubles(inv_std);
    const T* values = x(row);
    const T* grads = grad_output(row);
    const std::int64_t errors_at = 2 * width_;
    for_each_group(a_.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const group g = load(grads + j, extent);
      const group xh = (load(values + j, extent) - load(means + j)) * load(inv_stds + j);
      add_in_memory<T>(sum_g, errors_at, j, g);
      add_in_memory<T>(sum_gx, errors_at, j, g * xh);
    });
  }

  template <int K>
  void add_rows_float(std::int64_t row, double* sum_g, double* sum_gx) const {
    const float* centres = floats(centre);
    const float* inv_stds = floats(float_inv_std);
    const float* offsets = floats(offset);
    const float* values[K];
    const float* grads[K];
    for (int k = 0; k < K; ++k) {
      values[k] = x(row + k);
      grads[k] = grad_output(row + k);
    }
    for_each_group(a_.channels, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float_group m = load_float(centres + j);
      const float_group s = load_float(inv_stds + j);
      const float_group o = load_float(offsets + j);
      float_group g_sum{};
      float_group gx_sum{};
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        const float_group g = load_float(grads[k] + j, extent);
        const float_group xh = multiply_add(load_float(values[k] + j, extent) - m, s, o);
        g_sum = g_sum + g;
        gx_sum = multiply_add(g, xh, gx_sum);
      }
      store(sum_g + j, load(sum_g + j) + widen(g_sum));
      store(sum_gx + j, load(sum_gx + j) + widen(gx_sum));
    });
  }

  // sums(): width_ of g and of g * x^ as used, then the same from the passes in double.
  double* sums() const { return &partial_[slots_.count * 4 * width_]; }

  void merge_sums(double* sum_g) {
    fill_zero(sum_g, 2 * width_);
    merge_slots(partial_.data(), slots_.count, 4 * width_, a_.channels, sum_g);
    merge_slots(partial_.data() + width_, slots_.count, 4 * width_, a_.channels, sum_g + width_);
  }

  double reciprocal() const { return a_.frozen ? 0.0 : 1.0 / static_cast<double>(a_.batch); }
  double channel_factor(std::int64_t c) const {
    return a_.inv_std[c] * parameter<T>(a_.weight, c, 1.0);
  }

  // The coefficients of the channels that stay in single precision, from their float sums.
  void choose_slopes() {
    channels_in_float_ = 0;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      const FloatStats stats{floats(centre)[c], floats(float_inv_std)[c], floats(offset)[c],
                             floats(in_float)[c] != 0.0f};
      const FloatSlopes slopes =
          float_slopes(stats, a_.inv_std[c], channel_factor(c), sums()[c] * reciprocal(),
                       sums()[width_ + c] * reciprocal());
      floats(slope_g)[c] = slopes.slope_g;
      floats(slope_x)[c] = slopes.slope_x;
      floats(shift)[c] = slopes.shift;
      floats(in_float)[c] = slopes.usable ? 1.0f : 0.0f;
      channels_in_float_ += slopes.usable ? 1 : 0;
    }
  }

  // A channel's bits do not depend on what suits the other channels: both passes ran over all.
  void take_double_sums() {
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      if (floats(in_float)[c] != 0.0f) continue;
      sums()[c] = sums()[2 * width_ + c];
      sums()[width_ + c] = sums()[3 * width_ + c];
    }
  }

  void plan_channels() {
    const double* sum_g = sums();
    const double* sum_gx = sum_g + width_;
    for (std::int64_t c = 0; c < a_.channels; ++c) {
      if (a_.grad_weight) static_cast<T*>(a_.grad_weight)[c] = static_cast<T>(sum_gx[c]);
      if (a_.grad_bias) static_cast<T*>(a_.grad_bias)[c] = static_cast<T>(sum_g[c]);
      doubles(mean_g)[c] = sum_g[c] * reciprocal();
      doubles(mean_gx)[c] = sum_gx[c] * reciprocal();
      doubles(factor)[c] = channel_factor(c);
    }
  }

  template <bool in_single>
  void write_rows() const {
    const bool streams =
        worth_streaming(a_.grad_x, a_.grad_x_batch_stride * 4, a_.batch * a_.channels * 4);
    for_each_row_tile(a_.batch, a_.channels,
                      [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
      if constexpr (in_single) {
        streams ? write_float<true>(row, begin, count) : write_float<false>(row, begin, count);
      } else {
        write_double(row, begin, count,
                     static_cast<T*>(a_.grad_x) + row * a_.grad_x_batch_stride + begin);
      }
    });
  }

  // Channels [begin, begin + count) of a row to out[0 .. count).
  void write_double(std::int64_t row, std::int64_t begin, std::int64_t count, T* out) const {
    const T* values = x(row) + begin;
    const T* grads = grad_output(row) + begin;
    const double* channel = doubles(0) + begin;
    const std::int64_t width = width_;
    const bool frozen = a_.frozen;
    for_each_group(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      group g = load(grads + j, extent);
      const double* at = channel + j;
      if (!frozen) {
        const group xh = (load(values + j, extent) - load(at)) * load(at + width);
        g = (g - load(at + 2 * width)) - xh * load(at + 3 * width);
      }
      store(out + j, g * load(at + 4 * width), extent);
    });
  }

  template <bool streaming>
  void write_float(std::int64_t row, std::int64_t begin, std::int64_t count) const {
    const float* values = x(row) + begin;
    const float* grads = grad_output(row) + begin;
    float* out = static_cast<float*>(a_.grad_x) + row * a_.grad_x_batch_stride + begin;
    const float* channel = floats(0) + begin;
    const std::int64_t width = width_;
    const bool all = channels_in_float_ == a_.channels;
    for_each_group(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
      const float* at = channel + j;
      const float_group near = load_float(values + j, extent) - load_float(at);
      const float_group rest =
          multiply_add(near, load_float(at + slope_x * width), load_float(at + shift * width));
      const float_group result =
          multiply_add(load_float(grads + j, extent), load_float(at + slope_g * width), rest);
      if (__builtin_expect(all, 1)) {
        return store_or_stream<streaming>(out + j, result, extent);
      }
      write_mixed(row, begin + j, extent.count, result, out + j);
    });
  }

  // A group of channels of which some are done in double.
  __attribute__((noinline)) void write_mixed(std::int64_t row, std::int64_t begin, int count,
                                             float_group single, float* out) const {
    float in_single[group_size];
    T in_double[group_size];
    store_float(in_single, single);
    write_double(row, begin, count, in_double);
    for (int i = 0; i < count; ++i) {
      out[i] =
          floats(in_float)[begin + i] != 0.0f ? in_single[i] : static_cast<float>(in_double[i]);
    }
  }

  const BatchNormBackward& a_;
  std::int64_t width_;
  Slots slots_;
  Scratch<double> values_;
  Scratch<double> partial_;
  std::int64_t channels_in_float_ = 0;
};

template <class T>
void backward(const BatchNormBackward& a) {
  if (a.batch == 0 || a.inner == 0 || a.channels == 0) {
    fill_zero(static_cast<T*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<T*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  a.inner == 1 ? RowBackward<T>(a).run() : backward_channels<T>(a);
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
