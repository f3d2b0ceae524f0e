// Backward of the parametric rectifier, of (batch, channels, inner):
//   grad_x = grad_output where x > 0, else weight * grad_output
//   grad_weight = sum of grad_output * x where not x > 0
// Sums in double go through slots that are merged in order. They come first: grad_x may lie where
// grad_output does.
#include "cuda/engines/channel_norms.cuh"
#include "cuda/engines/rectify.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/prelu.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
void sum_to_weight(const PreluBackward& a) {
  const ChannelShape shape{a.batch, a.channels, a.inner};
  const BackwardArrays<T> arrays{.grad_output = static_cast<const T*>(a.grad_output),
                                 .x = static_cast<const T*>(a.x),
                                 .statistics = {},
                                 .grad_x = nullptr,
                                 .stream = a.stream};
  const auto merge = [&](const GradientSums<T>* slots, const SlotLayout& layout) {
    GradientMerge<T> to_weight{};
    to_weight.slots = slots;
    to_weight.layout = layout;
    to_weight.grad_weight = parameter_gradient_of<T>(a.grad_weight, a.parameter_dtype);
    merge_sums(to_weight, a.stream);
  };
  if (a.inner == 1) {
    const ColumnPlan plan = plan_columns(1, a.batch, a.channels, column_unit<T>(a.channels));
    auto* slots = scratch<GradientSums<T>>(a.stream, plan.slots * plan.sets());
    sums_of_columns<T>(arrays,
                       {.grad_output = shape.columns(a.grad_output_batch_stride),
                        .x = shape.columns(a.x_batch_stride),
                        .statistic = {},
                        .weight = {},
                        .weight_map = {},
                        .rectified = true},
                       1, a.batch, a.channels, slots);
    return merge(slots, slots_of(plan));
  }
  const RunPlan plan = plan_runs<T>(a.channels, a.batch, a.inner);
  auto* slots = scratch<GradientSums<T>>(a.stream, plan.sets * plan.chunks);
  sums_of_runs<T>(arrays,
                  {.grad_output = shape.runs(a.grad_output_batch_stride),
                   .x = shape.runs(a.x_batch_stride),
                   .statistic = {},
                   .weight = {},
                   .weight_map = {},
                   .rectified = true},
                  plan, slots);
  merge(slots, slots_of(plan));
}

template <class T>
void backward(const PreluBackward& a) {
  if (a.grad_weight != nullptr) sum_to_weight<T>(a);
  rectify<true, T>({.value = static_cast<const T*>(a.grad_output),
                    .x = static_cast<const T*>(a.x),
                    .out = static_cast<T*>(a.grad_x),
                    .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                    .in = ShapeInPacks({a.batch, a.channels, a.inner}, vector_elements<T>),
                    .value_outer_stride = a.grad_output_batch_stride,
                    .x_outer_stride = a.x_batch_stride,
                    .out_outer_stride = a.grad_x_batch_stride},
                   a.stream);
}

}  // namespace

void prelu_backward(const PreluBackward& a) {
  if (a.batch * a.channels * a.inner == 0) {
    fill_bytes(a.grad_weight, 0, a.channels * bytes_of(a.parameter_dtype), a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
}

}  // namespace normdrop::NORMDROP_DEVICE
