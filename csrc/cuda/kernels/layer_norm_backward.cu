// Backward of layer norm: with g = grad_output * weight, x^ = (x - mean) * inv_std and means over
// the reduced axis,
//   grad_x = ((g - mean(g)) - x^ * mean(g * x^)) * inv_std
//   grad_weight = sum over rows of grad_output * x^,   grad_bias = sum of grad_output
// x^ is recomputed, never stored. Sums over rows and over columns go through slots that are merged
// in order; no atomics.
#include "cuda/engines/fill.cuh"
#include "cuda/engines/rows_backward.cuh"
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

// Calls body with the number of threads that hold a row, or a cluster's part of one.
template <class T, class Body>
void for_threads_of_backward_row(std::int64_t length, Body&& body) {
  constexpr std::int64_t each = backward_columns<T>;
  if (length <= 8 * each) return body(Number<8>{});
  if (length <= 32 * each) return body(Number<32>{});
  if (length <= 128 * each) return body(Number<128>{});
  if (length <= 256 * each) return body(Number<256>{});
  body(Number<backward_block>{});
}

template <class T>
std::int64_t backward_parts(std::int64_t length) {
  return divided_up(length, backward_block * backward_columns<T>);
}

// Rows of a slot: from the shape alone.
std::int64_t backward_rows_per_slot(std::int64_t rows, std::int64_t teams, std::int64_t block) {
  const std::int64_t few = divided_up(rows, teams) < cuda_tuning::backward_fewest_slots
                               ? divided_up(rows, teams)
                               : cuda_tuning::backward_fewest_slots;
  const std::int64_t wanted = rows / cuda_tuning::backward_rows_per_slot;
  const std::int64_t most = cuda_tuning::backward_most_threads / block;
  const std::int64_t slots = wanted < few ? few : wanted > most ? most : wanted;
  return divided_up(divided_up(rows, slots), teams) * teams;
}

// Returns where the slots are, for merge_sums; `arguments.slots` is set where they are wanted.
template <class T>
SlotLayout backward_of_rows_on_chip(BackwardOfRows<T> arguments, bool parameters,
                                    GradientSums<T>** slots) {
  SlotLayout layout{};
  constexpr int unit = vector_elements<T>;
  const BackwardArrays<T>& arrays = arguments.arrays;
  arguments.parameters_aligned = packs_lie_aligned<T>(arguments.weight.values, 0, unit);
  const bool in_vectors =
      arguments.length % unit == 0 &&
      packs_lie_aligned<T>(arrays.grad_output, arguments.grad_output_stride, unit) &&
      packs_lie_aligned<T>(arrays.x, arguments.x_stride, unit) &&
      packs_lie_aligned<T>(arrays.grad_x, arguments.grad_x_stride, unit);
  for_either(in_vectors, [&](auto aligned) {
    for_threads_of_backward_row<T>(arguments.length, [&](auto threads) {
      constexpr int block = row_block_threads<threads.is>;
      arguments.rows_per_slot = backward_rows_per_slot(arguments.rows, block / threads.is, block);
      const std::int64_t count = divided_up(arguments.rows, arguments.rows_per_slot);
      arguments.parts = backward_parts<T>(arguments.length);
      if (parameters) {
        *slots = scratch<GradientSums<T>>(arrays.stream, count * arguments.length);
        arguments.slots = *slots;
      }
      launch("backward_of_rows", backward_of_rows<T, aligned.is, threads.is>,
             clusters_of(one_chunk_a_block(arguments.parts), count, block), arrays.stream,
             arguments);
      layout = {arguments.length, count, 1, arguments.length};
    });
  });
  return layout;
}

template <class T>
class Backward {
 public:
  explicit Backward(const LayerNormBackward& a)
      : a_(a),
        weight_(parameter_of<T>(a.weight, a.parameter_dtype)),
        arrays_{static_cast<const T*>(a.grad_output),
                static_cast<const T*>(a.x),
                a.mean,
                a.inv_std,
                static_cast<T*>(a.grad_x),
                a.stream} {}

  // Parameter gradients first: grad_x may lie where grad_output does.
  void run() const {
    const bool parameters = a_.grad_weight != nullptr || a_.grad_bias != nullptr;
    if (a_.inner == 1 && fits_in_a_cluster(backward_parts<T>(a_.reduced)))
      return rows_on_chip(parameters);
    if (parameters) {
      a_.inner == 1 ? parameters_of_rows() : parameters_of_columns();
    }
    a_.inner == 1 ? rows() : columns();
  }

 private:
  GradientMerge<T> to_parameters(const GradientSums<T>* slots, const SlotLayout& layout) const {
    GradientMerge<T> merge{};
    merge.slots = slots;
    merge.layout = layout;
    merge.grad_weight = parameter_gradient_of<T>(a_.grad_weight, a_.parameter_dtype);
    merge.grad_bias = parameter_gradient_of<T>(a_.grad_bias, a_.parameter_dtype);
    return merge;
  }

  GradientMerge<T> to_lines(const GradientSums<T>* slots, const SlotLayout& layout,
                            GradientLine* lines) const {
    GradientMerge<T> merge{};
    merge.slots = slots;
    merge.layout = layout;
    merge.lines = lines;
    merge.mean = a_.mean;
    merge.inv_std = a_.inv_std;
    merge.reciprocal = 1.0 / static_cast<double>(a_.reduced);
    return merge;
  }

  void rows_on_chip(bool parameters) const {
    BackwardOfRows<T> arguments{};
    arguments.arrays = arrays_;
    arguments.weight = weight_;
    arguments.rows = a_.outer;
    arguments.length = a_.reduced;
    arguments.reciprocal = 1.0 / static_cast<double>(a_.reduced);
    arguments.grad_output_stride = a_.grad_output_outer_stride;
    arguments.x_stride = a_.x_outer_stride;
    arguments.grad_x_stride = a_.grad_x_outer_stride;
    GradientSums<T>* slots = nullptr;
    const SlotLayout layout = backward_of_rows_on_chip(arguments, parameters, &slots);
    if (parameters) merge_sums(to_parameters(slots, layout), a_.stream);
  }

  // Every element of the reduced axis is a column over the rows.
  void parameters_of_rows() const {
    const ReductionMaps<T> maps{
        {0, a_.grad_output_outer_stride, 1}, {0, a_.x_outer_stride, 1}, {0, 1, 0}, {}, {0, 0, 0}};
    const ColumnPlan plan = plan_columns(1, a_.outer, a_.reduced, column_unit<T>(a_.reduced));
    GradientSums<T>* slots = scratch<GradientSums<T>>(a_.stream, plan.slots * plan.sets());
    sums_of_columns(arrays_, maps, 1, a_.outer, a_.reduced, slots);
    merge_sums(to_parameters(slots, slots_of(plan)), a_.stream);
  }

  // Every element of the reduced axis is a set with a run in every outer index.
  void parameters_of_columns() const {
    const ReductionMaps<T> maps{{a_.inner, a_.grad_output_outer_stride, 1},
                                {a_.inner, a_.x_outer_stride, 1},
                                {0, a_.inner, 1},
                                {},
                                {0, 0, 0}};
    const RunPlan plan = plan_runs<T>(a_.reduced, a_.outer, a_.inner);
    GradientSums<T>* slots = scratch<GradientSums<T>>(a_.stream, plan.sets * plan.chunks);
    sums_of_runs(arrays_, maps, plan, slots);
    merge_sums(to_parameters(slots, slots_of(plan)), a_.stream);
  }

  void rows() const {
    const ReductionMaps<T> maps{{a_.grad_output_outer_stride, 0, 1},
                                {a_.x_outer_stride, 0, 1},
                                {1, 0, 0},
                                weight_,
                                {0, 0, 1}};
    const RunPlan plan = plan_runs<T>(a_.outer, 1, a_.reduced);
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(a_.stream, plan.sets * plan.chunks, plan.sets);
    sums_of_runs(arrays_, maps, plan, slots);
    merge_sums(to_lines(slots, slots_of(plan), lines), a_.stream);
    write_elements<T>(arrays_, {lines, weight_, false}, {a_.outer, a_.reduced, 1},
                      a_.grad_output_outer_stride, a_.x_outer_stride, a_.grad_x_outer_stride,
                      {1, 0, 0}, {0, 1, 0});
  }

  void columns() const {
    const ReductionMaps<T> maps{{a_.grad_output_outer_stride, a_.inner, 1},
                                {a_.x_outer_stride, a_.inner, 1},
                                {a_.inner, 0, 1},
                                weight_,
                                {0, 1, 0}};
    const ColumnPlan plan = plan_columns(a_.outer, a_.reduced, a_.inner, column_unit<T>(a_.inner));
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(a_.stream, plan.slots * plan.sets(), plan.sets());
    sums_of_columns(arrays_, maps, a_.outer, a_.reduced, a_.inner, slots);
    merge_sums(to_lines(slots, slots_of(plan), lines), a_.stream);
    write_columns<T>(arrays_, {lines, weight_, false}, a_.outer, a_.reduced, a_.inner, maps,
                     {a_.grad_x_outer_stride, a_.inner, 1});
  }

  const LayerNormBackward& a_;
  Parameter<T> weight_;
  BackwardArrays<T> arrays_;
};

}  // namespace

void layer_norm_backward(const LayerNormBackward& a) {
  if (a.outer * a.reduced * a.inner == 0) {
    const std::int64_t bytes = a.reduced * bytes_of(a.parameter_dtype);
    fill_bytes(a.grad_weight, 0, bytes, a.stream);
    fill_bytes(a.grad_bias, 0, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { Backward<decltype(element)>(a).run(); });
}

}  // namespace normdrop::NORMDROP_DEVICE
