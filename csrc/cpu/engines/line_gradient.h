// The gradient of a line: runs of elements with statistics and a weight in common. Its sums, and the
// passes that write it, in double and in single precision (float_backward.h).
#pragma once

#include "cpu/arithmetic/float_backward.h"
#include "cpu/arithmetic/gradients.h"

namespace normdrop::NORMDROP_ISA {

// Where sums of grad_output and grad_output * x_hat go that are gradients of parameters.
template <class T>
struct ParameterGradients {
  wide<T>* grad_weight;  // (channels,) or null
  wide<T>* grad_bias;    // (channels,) or null
  template <class Arguments>
  explicit ParameterGradients(const Arguments& a)
      : grad_weight(static_cast<wide<T>*>(a.grad_weight)),
        grad_bias(static_cast<wide<T>*>(a.grad_bias)) {}
  void operator()(std::int64_t channel, const RowSums& sums) const {
    if (grad_weight) grad_weight[channel] = static_cast<wide<T>>(sums.gx);
    if (grad_bias) grad_bias[channel] = static_cast<wide<T>>(sums.g);
  }
};

// How a line's gradients are computed, once the sums of its set are known.
struct LinePlan {
  double weight;
  double factor;
  double mean_g;
  double mean_gx;
  bool has_means;
  FloatStats stats;
  FloatSlopes slopes;
};

template <class T, class Length>
NORMDROP_INLINE void write_float_run(const T* x, const T* grad_output, T* grad_x, Length length,
                                     const LinePlan& plan, Writing how) {
  const float_pack centre = splat_float(-plan.stats.centre);
  const float_pack slope_g = splat_float(plan.slopes.slope_g);
  const float_pack slope_x = splat_float(plan.slopes.slope_x);
  const float_pack shift = splat_float(plan.slopes.shift);
  for_each_pack_after(how.head, length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
    const float_pack near = load_float(x + i, extent) + centre;
    const float_pack g = load_float(grad_output + i, extent);
    store(grad_x + i, gradient_on_line(g, near, slope_g, slope_x, shift), extent, how);
  });
}

// The elements of a line with their gradients: `runs` runs of `length` neighbours.
template <class T>
struct Line {
  const T* grad_output;
  const T* x;
  T* grad_x;
  std::int64_t runs;
  std::int64_t length;
  std::int64_t grad_output_stride;
  std::int64_t x_stride;
  std::int64_t grad_x_stride;
  double mean;
  double inv_std;

  // Of runs [begin, end).
  NORMDROP_OUT_OF_LINE RowSums sums(std::int64_t begin, std::int64_t end) const {
    const Line line = *this;
    const pack means = splat(line.mean);
    const pack inv_stds = splat(line.inv_std);
    running_sums<T> sum_g{};
    running_sums<T> sum_gx{};
    for (std::int64_t run = begin; run < end; ++run) {
      const T* values = line.x + run * line.x_stride;
      const T* grads = line.grad_output + run * line.grad_output_stride;
      for_each_pack(line.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const pack g = load(grads + i, extent);
        const pack x_hat = keep(x_hat_of(load(values + i, extent), means, inv_stds), extent);
        sum_g = add(sum_g, g);
        sum_gx = add_product(sum_gx, g, x_hat);
      });
    }
    return {total_of(sum_g), total_of(sum_gx)};
  }

  NORMDROP_OUT_OF_LINE void write(std::int64_t begin, std::int64_t end,
                                  const LinePlan& plan) const {
    const Line line = *this;
    const pack means = splat(line.mean);
    const pack inv_stds = splat(line.inv_std);
    const pack weight = splat(plan.weight);
    const pack factor = splat(plan.factor);
    const pack mean_g = splat(plan.mean_g);
    const pack mean_gx = splat(plan.mean_gx);
    const bool has_means = plan.has_means;
    for (std::int64_t run = begin; run < end; ++run) {
      const T* values = line.x + run * line.x_stride;
      const T* grads = line.grad_output + run * line.grad_output_stride;
      T* out = line.grad_x + run * line.grad_x_stride;
      for_each_pack(line.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        pack g = load(grads + i, extent) * weight;
        if (has_means) {
          const pack x_hat = x_hat_of(load(values + i, extent), means, inv_stds);
          g = centred_gradient(g, x_hat, mean_g, mean_gx);
        }
        store(out + i, g * factor, extent);
      });
    }
  }

  // The passes in single precision; see float_backward.h.
  NORMDROP_OUT_OF_LINE FloatStats float_stats() const {
    FloatStats stats{0.0f, 0.0f, 0.0f, false};
    if constexpr (suits_single<T>) {
      stats = NORMDROP_ISA::float_stats(mean, inv_std);
      bool ordinary = false;
      for (std::int64_t run = 0; run < runs && !ordinary; ++run) {
        if (run == cpu::tuning::runs_looked_at) break;
        ordinary = has_ordinary_size(grad_output + run * grad_output_stride, length);
      }
      stats.usable = stats.usable && ordinary;
    }
    return stats;
  }

  NORMDROP_OUT_OF_LINE RowSums float_sums(std::int64_t begin, std::int64_t end,
                                          const FloatStats& stats) const {
    FloatSums sums;
    if constexpr (suits_single<T>) {
      const FloatStats these = stats;
      const Line line = *this;
      const T* values = line.x + begin * line.x_stride;
      const T* grads = line.grad_output + begin * line.grad_output_stride;
      with_length_of<T>(line.length, [&](auto run_length) NORMDROP_LAMBDA_INLINE {
        for (std::int64_t run = begin; run < end; ++run) {
          sums.add_run(values, grads, NoWeights{}, run_length, these);
          values += line.x_stride;
          grads += line.grad_output_stride;
        }
      });
    }
    return sums.total();
  }

  RowSums sums_by(const FloatStats& stats, std::int64_t begin, std::int64_t end) const {
    return stats.usable ? float_sums(begin, end, stats) : sums(begin, end);
  }
};

// Writes runs [begin, end) of `count` neighbouring lines, a run of each at a time: neighbours share
// cache lines and pages.
template <class T>
NORMDROP_OUT_OF_LINE void write_float_lines(const Line<T>& first, std::int64_t count,
                                            std::int64_t begin, std::int64_t end,
                                            const LinePlan* plan, Writing how) {
  const Line<T> line = first;
  with_length_of<T>(line.length, [&](auto length) NORMDROP_LAMBDA_INLINE {
    for (std::int64_t run = begin; run < end; ++run) {
      for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t at = k * length.length;
        write_float_run(line.x + run * line.x_stride + at,
                        line.grad_output + run * line.grad_output_stride + at,
                        line.grad_x + run * line.grad_x_stride + at, length, plan[k], how);
      }
    }
  });
}

}  // namespace normdrop::NORMDROP_ISA
