// Backward of batch norm, of x (batch, channels, inner):
//   grad_x = inv_std * weight * (grad_output - mean(grad_output) - x^ * mean(grad_output * x^))
//   grad_weight = sum grad_output * x^,  grad_bias = sum grad_output
// Frozen statistics leave the two means out.
// inner > 1 (NCHW): some neighbouring channels at a time; slots of channels are tasks where channels
//   are few. inner == 1 (NHWC, 2-D): batch_norm_row_backward.h.
#include "cpu/engines/batch_norm.h"
#include "cpu/engines/batch_norm_row_backward.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

// How one channel's gradients are computed, once its sums are known.
struct ChannelPlan {
  RowSums sum;
  FloatStats stats;
  FloatSlopes slopes;
};

template <class T, class Length>
NORMDROP_INLINE void write_float_run(const T* x, const T* grad_output, T* grad_x, Length length,
                                     const ChannelPlan& plan, Writing how) {
  const float_pack minus_centre = splat_float(-plan.stats.centre);
  const float_pack slope_g = splat_float(plan.slopes.slope_g);
  const float_pack slope_x = splat_float(plan.slopes.slope_x);
  const float_pack shift = splat_float(plan.slopes.shift);
  for_each_pack_after(how.head, length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
    const float_pack near = load_float(x + i, extent) + minus_centre;
    const float_pack rest = multiply_add(near, slope_x, shift);
    store(grad_x + i, multiply_add(load_float(grad_output + i, extent), slope_g, rest), extent,
          how);
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
    const pack mean = splat(a.mean[channel]);
    const pack inv_std = splat(a.inv_std[channel]);
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      for_each_pack(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const pack g = load(grads + i, extent);
        const pack xh = keep((load(values + i, extent) - mean) * inv_std, extent);
        sum_g = add(sum_g, g);
        sum_gx = add_product(sum_gx, g, xh);
      });
    }
    return {total_of(sum_g), total_of(sum_gx)};
  }

  void write(std::int64_t begin, std::int64_t end, const RowSums& sum) const {
    const double reciprocal =
        a.frozen ? 0.0 : 1.0 / (static_cast<double>(a.batch) * static_cast<double>(a.inner));
    const pack mean = splat(a.mean[channel]);
    const pack inv_std = splat(a.inv_std[channel]);
    const pack factor = splat(a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0));
    const pack mean_g = splat(sum.g * reciprocal);
    const pack mean_gx = splat(sum.gx * reciprocal);
    const bool frozen = a.frozen;
    for (std::int64_t row = begin; row < end; ++row) {
      const T* values = x(row);
      const T* grads = grad_output(row);
      T* out = static_cast<T*>(a.grad_x) + row * a.grad_x_batch_stride + channel * a.inner;
      for_each_pack(a.inner, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        pack g = load(grads + i, extent);
        if (!frozen) {
          const pack xh = (load(values + i, extent) - mean) * inv_std;
          g = (g - mean_g) - xh * mean_gx;
        }
        store(out + i, g * factor, extent);
      });
    }
  }

  // The passes in single precision; see float_backward.h.
  FloatStats stats() const {
    FloatStats stats{0.0f, 0.0f, 0.0f, false};
    if constexpr (suits_single<T>) {
      stats = float_stats(a.mean[channel], a.inv_std[channel]);
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
    if constexpr (suits_single<T>) {
      const FloatStats these = stats;
      const T* values = x(begin);
      const T* grads = grad_output(begin);
      const std::int64_t values_stride = a.x_batch_stride;
      const std::int64_t grads_stride = a.grad_output_batch_stride;
      with_length_of<T>(a.inner, [&](auto length) NORMDROP_LAMBDA_INLINE {
        for (std::int64_t row = begin; row < end; ++row) {
          sums.template add_run<false>(values, grads, nullptr, length, these);
          values += values_stride;
          grads += grads_stride;
        }
      });
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

  void report(const RowSums& sum) const {
    if (a.grad_weight) static_cast<wide<T>*>(a.grad_weight)[channel] = static_cast<wide<T>>(sum.gx);
    if (a.grad_bias) static_cast<wide<T>*>(a.grad_bias)[channel] = static_cast<wide<T>>(sum.g);
  }
};

// Channels [first, first + count) of rows [begin, end), a row at a time: neighbouring channels share
// cache lines and pages.
template <class T>
void write_float_channels(const BatchNormBackward& a, std::int64_t first, std::int64_t count,
                          std::int64_t begin, std::int64_t end, const ChannelPlan* plan) {
  const T* x = static_cast<const T*>(a.x) + first * a.inner;
  const T* grad_output = static_cast<const T*>(a.grad_output) + first * a.inner;
  T* grad_x = static_cast<T*>(a.grad_x) + first * a.inner;
  const std::int64_t x_stride = a.x_batch_stride;
  const std::int64_t grad_output_stride = a.grad_output_batch_stride;
  const std::int64_t grad_x_stride = a.grad_x_batch_stride;
  const Writing how = writing_of_runs<T>(a, a.grad_x, a.grad_x_batch_stride);
  with_length_of<T>(a.inner, [&](auto length) NORMDROP_LAMBDA_INLINE {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0; c < count; ++c) {
        const std::int64_t at = c * length.length;
        write_float_run(x + row * x_stride + at, grad_output + row * grad_output_stride + at,
                        grad_x + row * grad_x_stride + at, length, plan[c], how);
      }
    }
  });
}

template <class T>
void write_channel(const ChannelBackward<T>& backward, std::int64_t begin, std::int64_t end,
                   const ChannelPlan& plan) {
  if constexpr (suits_single<T>) {
    if (plan.slopes.usable) {
      return write_float_channels<T>(backward.a, backward.channel, 1, begin, end, &plan);
    }
  }
  backward.write(begin, end, plan.sum);
}

// Channels whose rows are written together: about a page of each row, while their elements and
// gradients stay in L2 between the two passes.
std::int64_t channels_together(const BatchNormBackward& a) {
  using namespace cpu::tuning;
  const std::int64_t by_row = together_elements / a.inner;
  const std::int64_t by_cache = together_in_cache / (a.batch * a.inner);
  const std::int64_t fitting = by_row < by_cache ? by_row : by_cache;
  return fitting < 1 ? 1 : (fitting < most_channels_together ? fitting : most_channels_together);
}

template <class T>
void backward_channels(const BatchNormBackward& a) {
  const Slots slots = plan_slots(a.batch, a.inner);
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
    ChannelPlan plan{sum_in_order(part, slots.count), stats, {}};
    if (stats.usable) plan.slopes = backward.slopes(plan.sum, stats);
    if (stats.usable && !plan.slopes.usable) {
      for (std::int64_t s = 0; s < slots.count; ++s) part[s] = slot_sums(backward, s, {});
      plan.sum = sum_in_order(part, slots.count);
    }
    backward.report(plan.sum);
    return plan;
  };
  if (!few_channels(a.channels)) {
    const std::int64_t together = channels_together(a);
    parallel_for((a.channels + together - 1) / together, a.batch * a.inner * together,
                 [&](std::int64_t block) {
      const std::int64_t first = block * together;
      const std::int64_t count = a.channels - first < together ? a.channels - first : together;
      ChannelPlan plan[cpu::tuning::most_channels_together];
      bool all_float = suits_single<T>;
      for (std::int64_t c = 0; c < count; ++c) {
        const ChannelBackward<T> backward{a, first + c};
        const FloatStats stats = backward.stats();
        for (std::int64_t s = 0; s < slots.count; ++s) {
          sums[(first + c) * slots.count + s] = slot_sums(backward, s, stats);
        }
        plan[c] = plan_of(first + c, stats);
        all_float = all_float && plan[c].slopes.usable;
      }
      if constexpr (suits_single<T>) {
        if (all_float) return write_float_channels<T>(a, first, count, 0, a.batch, plan);
      }
      for (std::int64_t c = 0; c < count; ++c) {
        write_channel(ChannelBackward<T>{a, first + c}, 0, a.batch, plan[c]);
      }
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

template <class T>
void backward(const BatchNormBackward& a) {
  if (a.batch == 0 || a.inner == 0 || a.channels == 0) {
    fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<wide<T>*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  a.inner == 1 ? RowBackward<T>(a).run() : backward_channels<T>(a);
}

}  // namespace

void batch_norm_backward(const BatchNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.channels, [](const BatchNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
