// Backward of group norm and instance norm, of x (batch, before, channels, after):
//   grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// The means run over a group, the sums over batch and positions: both come from the sums of each
// channel at each batch index. Passes as in the forward; see group_norm.cpp.
#include "cpu/engines/channels_backward.h"
#include "cpu/engines/columns_backward.h"
#include "cpu/engines/groups.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

MeanFactors mean_factors_of(const GroupNormBackward& a) {
  const auto count = static_cast<double>(a.before * shape_of(a).run_length);
  return {1.0 / count, 1.0 / count};
}

// Channels of all batch indices as lines, for engines/channels_backward.h; sums (batch, channels).
template <class T>
struct GroupGradients {
  GroupNormBackward a;
  RowSums* sums;
  GroupShape shape;
  std::int64_t sets;
  std::int64_t sets_in_row;
  std::int64_t lines_per_set;
  MeanFactors mean_factors;
  Writing how;

  GroupGradients(const GroupNormBackward& arguments, RowSums* line_sums)
      : a(arguments),
        sums(line_sums),
        shape(shape_of(a)),
        sets(a.batch * a.groups),
        sets_in_row(a.groups),
        lines_per_set(shape.per_group),
        mean_factors(mean_factors_of(a)) {
    if (a.before == 1 || a.grad_x_batch_stride == a.before * shape.run_stride) {
      how = writing_of_lines(static_cast<T*>(a.grad_x), a.after,
                             a.before == 1 ? a.grad_x_batch_stride : shape.run_stride,
                             a.batch * a.before * shape.run_stride);
    }
  }

  std::int64_t set_of(std::int64_t line) const { return line / shape.per_group; }
  double weight_of(std::int64_t line) const {
    return parameter<T>(a.weight, line % a.channels, 1.0);
  }
  Line<T> line(std::int64_t index) const {
    const std::int64_t n = index / a.channels;
    const std::int64_t at = index % a.channels * a.after;
    return {static_cast<const T*>(a.grad_output) + n * a.grad_output_batch_stride + at,
            static_cast<const T*>(a.x) + n * a.x_batch_stride + at,
            static_cast<T*>(a.grad_x) + n * a.grad_x_batch_stride + at,
            a.before,
            a.after,
            shape.run_stride,
            shape.run_stride,
            shape.run_stride,
            a.mean[set_of(index)],
            a.inv_std[set_of(index)]};
  }
  RowSums sums_of_set(std::int64_t set, const RowSums* line_sums) const {
    const std::int64_t first = set * shape.per_group;
    double_double g{0.0, 0.0};
    double_double gx{0.0, 0.0};
    for (std::int64_t k = 0; k < shape.per_group; ++k) {
      const double weight = weight_of(first + k);
      g = add(g, multiply({line_sums[k].g, 0.0}, weight));
      gx = add(gx, multiply({line_sums[k].gx, 0.0}, weight));
    }
    return {g.high, gx.high};
  }
  LineFactors factors(std::int64_t line) const {
    return {weight_of(line), a.inv_std[set_of(line)]};
  }
  void report(std::int64_t line, const RowSums& sum) const { sums[line] = sum; }
};

// after == 1: the groups of one batch index.
template <class T>
void backward_batch_index(const GroupNormBackward& a, std::int64_t index, RowSums* sums) {
  const std::int64_t set = index * a.groups;
  ColumnsBackward<T>({static_cast<const T*>(a.grad_output) + index * a.grad_output_batch_stride,
                      static_cast<const T*>(a.x) + index * a.x_batch_stride,
                      static_cast<T*>(a.grad_x) + index * a.grad_x_batch_stride, a.before,
                      a.channels, a.channels, a.channels, a.channels, a.mean + set, a.inv_std + set,
                      static_cast<const wide<T>*>(a.weight), a.channels / a.groups, true,
                      mean_factors_of(a)})
      .run([=](std::int64_t channel, const RowSums& sum) { sums[channel] = sum; });
}

// The parameters' gradients from the sums of all lines, (batch, channels).
template <class T>
void add_up_lines(const GroupNormBackward& a, const RowSums* sums) {
  const ParameterGradients<T> report(a);
  parallel_for(a.channels, a.batch, [&](std::int64_t channel) {
    report(channel, sum_in_order(sums + channel, a.batch, a.channels));
  });
}

// before == 1 and short lines: the rows of one group at all batch indices. `weight` is that of the
// elements, and so are the gradients.
template <class T>
void backward_rows_of_group(const GroupNormBackward& a, std::int64_t group, const void* weight,
                            wide<T>* grad_weight, wide<T>* grad_bias) {
  const std::int64_t length = shape_of(a).run_length;
  const std::int64_t begin = group * length;
  Scratch<double> statistics(2 * a.batch);
  for (std::int64_t n = 0; n < a.batch; ++n) {
    statistics[n] = a.mean[n * a.groups + group];
    statistics[a.batch + n] = a.inv_std[n * a.groups + group];
  }
  layer_norm_backward({
      .dtype = a.dtype,
      .parameter_dtype = a.parameter_dtype,
      .outer = a.batch,
      .reduced = length,
      .inner = 1,
      .grad_output_outer_stride = a.grad_output_batch_stride,
      .x_outer_stride = a.x_batch_stride,
      .grad_x_outer_stride = a.grad_x_batch_stride,
      .grad_output = static_cast<const T*>(a.grad_output) + begin,
      .x = static_cast<const T*>(a.x) + begin,
      .mean = statistics.data(),
      .inv_std = statistics.data() + a.batch,
      .weight = weight ? static_cast<const wide<T>*>(weight) + begin : nullptr,
      .grad_x = static_cast<T*>(a.grad_x) + begin,
      .grad_weight = grad_weight ? grad_weight + begin : nullptr,
      .grad_bias = grad_bias ? grad_bias + begin : nullptr,
      .stream = nullptr,
  });
}

// A channel's gradient from those of its elements.
template <class T>
void add_up_elements(const wide<T>* elements, std::int64_t channels, std::int64_t times,
                     void* target) {
  if (target == nullptr) return;
  for (std::int64_t c = 0; c < channels; ++c) {
    double_double sum{0.0, 0.0};
    for (std::int64_t i = c * times; i < (c + 1) * times; ++i) {
      sum = add(sum, {static_cast<double>(elements[i]), 0.0});
    }
    static_cast<wide<T>*>(target)[c] = static_cast<wide<T>>(sum.high);
  }
}

template <class T>
void backward_rows(const GroupNormBackward& a) {
  const RepeatedParameter<T> weight(a.weight, a.channels, a.after);
  const std::int64_t elements = a.channels * a.after;
  Scratch<wide<T>> grad_weight(a.grad_weight ? elements : 0);
  Scratch<wide<T>> grad_bias(a.grad_bias ? elements : 0);
  for_each_large_part(a.groups, a.batch * shape_of(a).run_length, [&](std::int64_t group) {
    backward_rows_of_group<T>(a, group, weight.data(), a.grad_weight ? grad_weight.data() : nullptr,
                              a.grad_bias ? grad_bias.data() : nullptr);
  });
  add_up_elements<T>(grad_weight.data(), a.channels, a.after, a.grad_weight);
  add_up_elements<T>(grad_bias.data(), a.channels, a.after, a.grad_bias);
}

template <class T>
void backward(const GroupNormBackward& a) {
  if (a.batch * a.before * a.channels * a.after == 0) {
    fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.channels : 0);
    fill_zero(static_cast<wide<T>*>(a.grad_bias), a.grad_bias ? a.channels : 0);
    return;
  }
  if (has_short_rows(a)) return backward_rows<T>(a);
  Scratch<RowSums> sums(a.batch * a.channels);
  if (a.after > 1) {
    ChannelsBackward<T, GroupGradients<T>>(GroupGradients<T>(a, sums.data())).run();
  } else {
    for_each_large_part(a.batch, a.before * a.channels, [&](std::int64_t index) {
      backward_batch_index<T>(a, index, &sums[index * a.channels]);
    });
  }
  add_up_lines<T>(a, sums.data());
}

}  // namespace

void group_norm_backward(const GroupNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.channels, [](const GroupNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
  });
}

void instance_norm_backward(const InstanceNormBackward& arguments) {
  group_norm_backward(arguments);
}

}  // namespace normdrop::NORMDROP_ISA
