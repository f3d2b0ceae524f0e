// Backward of batch norm: with g = grad_output, x^ = (x - mean) * inv_std and means over a channel,
//   grad_x = ((g - mean(g)) - x^ * mean(g * x^)) * inv_std * weight
//   grad_weight = sum(g * x^),   grad_bias = sum(g)
// Frozen statistics are constants: grad_x = g * inv_std * weight. x^ is recomputed, never stored.
// Channels are sets of runs, or columns where inner == 1; no atomics.
#include "cuda/engines/channels.cuh"
#include "cuda/engines/fill.cuh"
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
class Backward {
 public:
  explicit Backward(const BatchNormBackward& a)
      : a_(a),
        arrays_{static_cast<const T*>(a.grad_output),
                static_cast<const T*>(a.x),
                a.mean,
                a.inv_std,
                static_cast<T*>(a.grad_x),
                a.stream} {}

  void run() const {
    if (a_.inner == 1) return columns();
    const RunPlan plan = plan_runs<T>(a_.channels, a_.batch, a_.inner);
    fits_in_a_cluster(plan.chunks) ? on_chip(plan) : runs(plan);
  }

 private:
  double reciprocal() const {
    if (a_.frozen) return 0.0;
    return 1.0 / (static_cast<double>(a_.batch) * static_cast<double>(a_.inner));
  }

  GradientMerge<T> merge_of(const GradientSums<T>* slots, const SlotLayout& layout,
                            GradientLine* lines) const {
    return {slots,
            layout,
            parameter_gradient_of<T>(a_.grad_weight, a_.parameter_dtype),
            parameter_gradient_of<T>(a_.grad_bias, a_.parameter_dtype),
            lines,
            a_.mean,
            a_.inv_std,
            parameter_of<T>(a_.weight, a_.parameter_dtype),
            reciprocal()};
  }

  void on_chip(const RunPlan& plan) const {
    const auto lie_aligned = [&](int unit) {
      return packs_lie_aligned<T>(a_.grad_output, a_.grad_output_batch_stride, unit) &&
             packs_lie_aligned<T>(a_.x, a_.x_batch_stride, unit) &&
             packs_lie_aligned<T>(a_.grad_x, a_.grad_x_batch_stride, unit);
    };
    for_run_packs<T>(a_.inner, lie_aligned, [&](auto unit, auto aligned) {
      const GradientOfChannels<T> arguments{
          arrays_,
          parameter_of<T>(a_.weight, a_.parameter_dtype),
          parameter_gradient_of<T>(a_.grad_weight, a_.parameter_dtype),
          parameter_gradient_of<T>(a_.grad_bias, a_.parameter_dtype),
          {a_.inner, a_.grad_output_batch_stride, 1},
          {a_.inner, a_.x_batch_stride, 1},
          {a_.inner, a_.grad_x_batch_stride, 1},
          plan,
          reciprocal()};
      launch("gradient_of_channels", gradient_of_channels<T, unit.is, aligned.is>,
             clusters_of(one_chunk_a_block(plan.chunks), plan.sets, block_threads), a_.stream,
             arguments);
    });
  }

  void runs(const RunPlan& plan) const {
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(a_.stream, plan.sets * plan.chunks, plan.sets);
    const ReductionMaps<T> maps{{a_.inner, a_.grad_output_batch_stride, 1},
                                {a_.inner, a_.x_batch_stride, 1},
                                {1, 0, 0},
                                {},
                                {0, 0, 0}};
    sums_of_runs(arrays_, maps, plan, slots);
    merge_sums(merge_of(slots, slots_of(plan), lines), a_.stream);
    write_elements<T>(arrays_, {lines, {}, a_.frozen}, {a_.batch, a_.channels, a_.inner},
                      a_.grad_output_batch_stride, a_.x_batch_stride, a_.grad_x_batch_stride,
                      {0, 1, 0}, {0, 0, 0});
  }

  void columns() const {
    const ReductionMaps<T> maps{
        {0, a_.grad_output_batch_stride, 1}, {0, a_.x_batch_stride, 1}, {0, 0, 1}, {}, {0, 0, 0}};
    const ColumnPlan plan = plan_columns(1, a_.batch, a_.channels, column_unit<T>(a_.channels));
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(a_.stream, plan.slots * plan.sets(), plan.sets());
    sums_of_columns(arrays_, maps, 1, a_.batch, a_.channels, slots);
    merge_sums(merge_of(slots, slots_of(plan), lines), a_.stream);
    write_columns<T>(arrays_, {lines, {}, a_.frozen}, 1, a_.batch, a_.channels, maps,
                     {0, a_.grad_x_batch_stride, 1});
  }

  const BatchNormBackward& a_;
  BackwardArrays<T> arrays_;
};

}  // namespace

void batch_norm_backward(const BatchNormBackward& a) {
  if (a.batch * a.channels * a.inner == 0) {
    const std::int64_t bytes = a.channels * bytes_of(a.parameter_dtype);
    fill_bytes(a.grad_weight, 0, bytes, a.stream);
    fill_bytes(a.grad_bias, 0, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { Backward<decltype(element)>(a).run(); });
}

}  // namespace normdrop::NORMDROP_DEVICE
