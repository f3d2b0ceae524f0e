// Norms of channels: on chip, through memory, and down columns.
#include "cuda/engines/channel_norms.cuh"

#include "cuda/engines/channels.cuh"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
void forward_on_chip(const ChannelForward<T>& a, const RunPlan& plan, const ChunkSpread& spread) {
  const auto lie_aligned = [&](int unit) {
    return packs_lie_aligned<T>(a.arrays.x, a.x_batch_stride, unit) &&
           packs_lie_aligned<T>(a.arrays.y, a.y_batch_stride, unit);
  };
  for_run_packs<T>(a.shape.inner, lie_aligned, [&](auto unit, auto aligned) {
    const NormaliseChannels<T> arguments{
        .arrays = a.arrays,
        .x_map = a.shape.runs(a.x_batch_stride),
        .y_map = a.shape.runs(a.y_batch_stride),
        .plan = plan,
        .divisor = Divisor(a.arrays.measure.divisor(a.shape.count()))};
    for_either(spread.of_block > 1, [&](auto several) {
      launch("normalise_channels", normalise_channels<T, unit.is, aligned.is, several.is>,
             clusters_of(spread, a.shape.channels, block_threads), a.arrays.stream, arguments,
             spread);
    });
  });
}

template <class T>
class Backward {
 public:
  explicit Backward(const ChannelBackward<T>& a) : a_(a), stream_(a.arrays.stream) {}

  void run() const {
    if (a_.shape.inner == 1) return columns();
    const RunPlan plan = plan_runs<T>(a_.shape.channels, a_.shape.batch, a_.shape.inner);
    a_.arrays.grad_x != nullptr&& fits_in_a_cluster(plan.chunks) ? on_chip(plan) : runs(plan);
  }

  void write(const GradientLine* lines) const {
    const GradientWrite<T> write{
        .lines = lines, .weight = {}, .constants = a_.mean_factors.none(), .addend_map = {}};
    if (a_.shape.inner == 1) {
      return write_columns<T>(a_.arrays, write, 1, a_.shape.batch, a_.shape.channels,
                              maps_of_columns(), a_.shape.columns(a_.grad_x_batch_stride));
    }
    write_elements<T>(a_.arrays, write, {a_.shape.batch, a_.shape.channels, a_.shape.inner},
                      a_.grad_output_batch_stride, a_.x_batch_stride, a_.grad_x_batch_stride,
                      {.second = 1}, {});
  }

 private:
  ReductionMaps<T> maps_of_columns() const {
    return {.grad_output = a_.shape.columns(a_.grad_output_batch_stride),
            .x = a_.shape.columns(a_.x_batch_stride),
            .statistic = {.third = 1},
            .weight = {},
            .weight_map = {}};
  }

  void merge(const GradientSums<T>* slots, const SlotLayout& layout, GradientLine* lines) const {
    merge_sums<T>({.slots = slots,
                   .layout = layout,
                   .grad_weight = a_.grad_weight,
                   .grad_bias = a_.grad_bias,
                   .lines = a_.arrays.grad_x != nullptr ? lines : nullptr,
                   .statistics = a_.arrays.statistics,
                   .factor_weight = a_.weight,
                   .mean_factors = a_.mean_factors,
                   .grad = a_.grad,
                   .grad_x_hat = a_.grad_x_hat},
                  stream_);
  }

  void on_chip(const RunPlan& plan) const {
    const auto lie_aligned = [&](int unit) {
      return packs_lie_aligned<T>(a_.arrays.grad_output, a_.grad_output_batch_stride, unit) &&
             packs_lie_aligned<T>(a_.arrays.x, a_.x_batch_stride, unit) &&
             packs_lie_aligned<T>(a_.arrays.grad_x, a_.grad_x_batch_stride, unit);
    };
    for_run_packs<T>(a_.shape.inner, lie_aligned, [&](auto unit, auto aligned) {
      const GradientOfChannels<T> arguments{
          .arrays = a_.arrays,
          .weight = a_.weight,
          .grad_weight = a_.grad_weight,
          .grad_bias = a_.grad_bias,
          .grad_output_map = a_.shape.runs(a_.grad_output_batch_stride),
          .x_map = a_.shape.runs(a_.x_batch_stride),
          .grad_x_map = a_.shape.runs(a_.grad_x_batch_stride),
          .plan = plan,
          .mean_factors = a_.mean_factors};
      launch("gradient_of_channels", gradient_of_channels<T, unit.is, aligned.is>,
             clusters_of(one_chunk_a_block(plan.chunks), plan.sets, block_threads), stream_,
             arguments);
    });
  }

  void runs(const RunPlan& plan) const {
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(stream_, plan.sets * plan.chunks, plan.sets);
    const ReductionMaps<T> maps{.grad_output = a_.shape.runs(a_.grad_output_batch_stride),
                                .x = a_.shape.runs(a_.x_batch_stride),
                                .statistic = {.first = 1},
                                .weight = {},
                                .weight_map = {}};
    sums_of_runs(a_.arrays, maps, plan, slots);
    merge(slots, slots_of(plan), lines);
    if (a_.arrays.grad_x != nullptr) write(lines);
  }

  void columns() const {
    const ColumnPlan plan =
        plan_columns(1, a_.shape.batch, a_.shape.channels, column_unit<T>(a_.shape.channels));
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(stream_, plan.slots * plan.sets(), plan.sets());
    sums_of_columns(a_.arrays, maps_of_columns(), 1, a_.shape.batch, a_.shape.channels, slots);
    merge(slots, slots_of(plan), lines);
    if (a_.arrays.grad_x != nullptr) write(lines);
  }

  const ChannelBackward<T>& a_;
  void* stream_;
};

}  // namespace

template <class T>
void forward_over_channels(const ChannelForward<T>& a) {
  if (a.shape.inner == 1) return forward_of_columns(a.arrays, a.as_columns());
  const RunPlan plan = plan_runs<T>(a.shape.channels, a.shape.batch, a.shape.inner);
  const ChunkSpread spread = spread_on_chip(plan.chunks, chunk_bytes<T>);
  if (a.arrays.y != nullptr && spread.blocks > 0) return forward_on_chip(a, plan, spread);
  forward_of_runs(a.arrays, a.as_runs());
}

template <class T>
void backward_over_channels(const ChannelBackward<T>& a) {
  Backward<T>(a).run();
}

template <class T>
void write_over_channels(const ChannelBackward<T>& a, const GradientLine* lines) {
  Backward<T>(a).write(lines);
}

// The functions of one dtype.
#define NORMDROP_INSTANTIATE(T)                                    \
  template void forward_over_channels(const ChannelForward<T>&);   \
  template void backward_over_channels(const ChannelBackward<T>&); \
  template void write_over_channels(const ChannelBackward<T>&, const GradientLine*)

NORMDROP_INSTANTIATE(float);
NORMDROP_INSTANTIATE(double);
NORMDROP_INSTANTIATE(float16);
NORMDROP_INSTANTIATE(bfloat16);
#undef NORMDROP_INSTANTIATE

}  // namespace normdrop::NORMDROP_DEVICE
