// Forward of group norm (Wu, He 2018) and instance norm (Ulyanov, Vedaldi, Lempitsky 2016) of x
// (batch, before, channels, after): one mean and var per batch index and group of channels.
//   y = (x - mean) * inv_std * weight + bias
// after == 1 (channels-last): the columns of one batch index, their moments merged over a group
//   (engines/columns.h). Else a group is a set of `before` runs with a line per channel
//   (engines/channels.h); where lines are short, a row with a weight for each element.
#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "cpu/engines/groups.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

void report(const GroupNormForward& a, std::int64_t set, const Normaliser& n) {
  if (a.mean != nullptr) a.mean[set] = reported_mean(n);
  if (a.inv_std != nullptr) a.inv_std[set] = reported_inv_std(n);
}

// Groups of all batch indices as sets of runs, for engines/channels.h.
template <class T>
struct Groups {
  GroupNormForward a;
  GroupShape shape;
  MeanAndVariance statistic;
  LineOutput<T> output;
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;

  explicit Groups(const GroupNormForward& arguments)
      : a(arguments),
        shape(shape_of(a)),
        statistic{a.eps},
        output(line_output()),
        sets(a.batch * a.groups),
        runs(a.before),
        length(shape.run_length) {}

  LineOutput<T> line_output() const {
    T* y = static_cast<T*>(a.y);
    Writing how;
    if (a.before == 1 || a.y_batch_stride == a.before * shape.run_stride) {
      how = writing_of_lines(y, a.after, a.before == 1 ? a.y_batch_stride : shape.run_stride,
                             a.batch * a.before * shape.run_stride);
    }
    return {y,
            shape.run_stride,
            a.after,
            static_cast<const wide<T>*>(a.weight),
            static_cast<const wide<T>*>(a.bias),
            how};
  }
  Runs<T> elements(std::int64_t set) const {
    const std::int64_t at = set / a.groups * a.x_batch_stride + set % a.groups * length;
    return {static_cast<const T*>(a.x) + at, runs, length, shape.run_stride};
  }
  void report(std::int64_t set, const Normaliser& n) const { NORMDROP_ISA::report(a, set, n); }
  void write(std::int64_t set, const Part<T>& part, const Normaliser& n) const {
    const std::int64_t group = set % a.groups;
    const std::int64_t at = set / a.groups * a.y_batch_stride + group * length;
    write_lines<true>(part, n, output.at(at, group * shape.per_group));
  }
};

// after == 1: the groups of one batch index.
template <class T>
void forward_batch_index(const GroupNormForward& a, std::int64_t index) {
  const std::int64_t per_group = a.channels / a.groups;
  const Block<T> block{static_cast<const T*>(a.x) + index * a.x_batch_stride, a.before, a.channels,
                       a.channels};
  Scratch<Moments> moments(a.channels);
  Scratch<Normaliser> normalisers(a.groups);
  column_parts_in_slots(block, moments.data());
  for (std::int64_t group = 0; group < a.groups; ++group) {
    const Moments* of_group = &moments[group * per_group];
    const Runs<T> runs{block.x + group * per_group, a.before, per_group, a.channels};
    const Moments all = per_group == 1 ? *of_group : merge(of_group, per_group);
    normalisers[group] = finish(all, runs, a.eps);
    report(a, index * a.groups + group, normalisers[group]);
  }
  const ColumnOutput<T> output{static_cast<T*>(a.y) + index * a.y_batch_stride, a.channels,
                               static_cast<const wide<T>*>(a.weight),
                               static_cast<const wide<T>*>(a.bias)};
  write_columns<true>(block, output, [&](std::int64_t c) { return normalisers[c / per_group]; });
}

// before == 1 and short lines: the rows of one group at all batch indices. `weight` and `bias` are
// those of the elements.
template <class T>
void forward_rows_of_group(const GroupNormForward& a, std::int64_t group, const void* weight,
                           const void* bias) {
  const std::int64_t length = shape_of(a).run_length;
  const std::int64_t begin = group * length;
  Scratch<double> statistics(2 * a.batch);
  layer_norm_forward({
      .dtype = a.dtype,
      .parameter_dtype = a.parameter_dtype,
      .outer = a.batch,
      .reduced = length,
      .inner = 1,
      .x_outer_stride = a.x_batch_stride,
      .y_outer_stride = a.y_batch_stride,
      .eps = a.eps,
      .x = static_cast<const T*>(a.x) + begin,
      .weight = weight ? static_cast<const wide<T>*>(weight) + begin : nullptr,
      .bias = bias ? static_cast<const wide<T>*>(bias) + begin : nullptr,
      .y = static_cast<T*>(a.y) + begin,
      .mean = statistics.data(),
      .inv_std = statistics.data() + a.batch,
      .stream = nullptr,
  });
  for (std::int64_t n = 0; n < a.batch; ++n) {
    if (a.mean != nullptr) a.mean[n * a.groups + group] = statistics[n];
    if (a.inv_std != nullptr) a.inv_std[n * a.groups + group] = statistics[a.batch + n];
  }
}

template <class T>
void forward_rows(const GroupNormForward& a) {
  const RepeatedParameter<T> weight(a.weight, a.channels, a.after);
  const RepeatedParameter<T> bias(a.bias, a.channels, a.after);
  for_each_large_part(a.groups, a.batch * shape_of(a).run_length, [&](std::int64_t group) {
    forward_rows_of_group<T>(a, group, weight.data(), bias.data());
  });
}

template <class T>
void forward(const GroupNormForward& a) {
  const std::int64_t set_size = a.before * a.after * (a.groups > 0 ? a.channels / a.groups : 0);
  if (set_size == 0) {
    const double nan = __builtin_nan("");
    for (std::int64_t i = 0; i < a.batch * a.groups; ++i) {
      if (a.mean != nullptr) a.mean[i] = nan;
      if (a.inv_std != nullptr) a.inv_std[i] = nan;
    }
    return;
  }
  if (has_short_rows(a)) return forward_rows<T>(a);
  if (a.after > 1) return forward_sets<T>(Groups<T>(a));
  for_each_large_part(a.batch, a.before * a.channels,
                      [&](std::int64_t index) { forward_batch_index<T>(a, index); });
}

}  // namespace

void group_norm_forward(const GroupNormForward& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const GroupNormForward& a) {
    for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
  });
}

void instance_norm_forward(const InstanceNormForward& arguments) { group_norm_forward(arguments); }

}  // namespace normdrop::NORMDROP_ISA
