// Backward of the norms over an axis: rows on chip, rows and columns through memory. Sums over rows
// and over columns go through slots that are merged in order; no atomics.
#include "cuda/engines/axis_backward.cuh"

#include "cuda/engines/rows_backward.cuh"

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
      packs_lie_aligned<T>(arguments.addend, arguments.addend_stride, unit) &&
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
  explicit Backward(const AxisBackward<T>& a) : a_(a), stream_(a.arrays.stream) {}

  // Parameter gradients first: grad_x may lie where grad_output does.
  void run() const {
    const bool parameters = a_.grad_weight.values != nullptr || a_.grad_bias.values != nullptr;
    if (a_.inner == 1 && fits_in_a_cluster(backward_parts<T>(a_.reduced))) {
      return rows_on_chip(parameters);
    }
    if (parameters) {
      a_.inner == 1 ? parameters_of_rows() : parameters_of_columns();
    }
    a_.inner == 1 ? rows() : columns();
  }

 private:
  void merge_to_parameters(const GradientSums<T>* slots, const SlotLayout& layout) const {
    GradientMerge<T> merge{};
    merge.slots = slots;
    merge.layout = layout;
    merge.grad_weight = a_.grad_weight;
    merge.grad_bias = a_.grad_bias;
    merge_sums(merge, stream_);
  }

  void merge_to_lines(const GradientSums<T>* slots, const SlotLayout& layout,
                      GradientLine* lines) const {
    GradientMerge<T> merge{};
    merge.slots = slots;
    merge.layout = layout;
    merge.lines = lines;
    merge.statistics = a_.arrays.statistics;
    merge.mean_factors = a_.mean_factors;
    merge_sums(merge, stream_);
  }

  GradientWrite<T> write_with(const GradientLine* lines) const {
    return {.lines = lines,
            .weight = a_.weight,
            .constants = false,
            .addend_map = {.first = a_.addend_outer_stride, .second = a_.inner, .third = 1}};
  }

  void rows_on_chip(bool parameters) const {
    BackwardOfRows<T> arguments{};
    arguments.arrays = a_.arrays;
    arguments.weight = a_.weight;
    arguments.rows = a_.outer;
    arguments.length = a_.reduced;
    arguments.mean_factors = a_.mean_factors;
    arguments.grad_output_stride = a_.grad_output_outer_stride;
    arguments.x_stride = a_.x_outer_stride;
    arguments.grad_x_stride = a_.grad_x_outer_stride;
    arguments.addend = a_.arrays.addend;
    arguments.addend_stride = a_.addend_outer_stride;
    GradientSums<T>* slots = nullptr;
    const SlotLayout layout = backward_of_rows_on_chip(arguments, parameters, &slots);
    if (parameters) merge_to_parameters(slots, layout);
  }

  // Every element of the reduced axis is a column over the rows.
  void parameters_of_rows() const {
    const ReductionMaps<T> maps{.grad_output = {.second = a_.grad_output_outer_stride, .third = 1},
                                .x = {.second = a_.x_outer_stride, .third = 1},
                                .statistic = {.second = 1},
                                .weight = {},
                                .weight_map = {}};
    const ColumnPlan plan = plan_columns(1, a_.outer, a_.reduced, column_unit<T>(a_.reduced));
    GradientSums<T>* slots = scratch<GradientSums<T>>(stream_, plan.slots * plan.sets());
    sums_of_columns(a_.arrays, maps, 1, a_.outer, a_.reduced, slots);
    merge_to_parameters(slots, slots_of(plan));
  }

  // Every element of the reduced axis is a set with a run in every outer index.
  void parameters_of_columns() const {
    const ReductionMaps<T> maps{
        .grad_output = {.first = a_.inner, .second = a_.grad_output_outer_stride, .third = 1},
        .x = {.first = a_.inner, .second = a_.x_outer_stride, .third = 1},
        .statistic = {.second = a_.inner, .third = 1},
        .weight = {},
        .weight_map = {}};
    const RunPlan plan = plan_runs<T>(a_.reduced, a_.outer, a_.inner);
    GradientSums<T>* slots = scratch<GradientSums<T>>(stream_, plan.sets * plan.chunks);
    sums_of_runs(a_.arrays, maps, plan, slots);
    merge_to_parameters(slots, slots_of(plan));
  }

  void rows() const {
    const ReductionMaps<T> maps{.grad_output = {.first = a_.grad_output_outer_stride, .third = 1},
                                .x = {.first = a_.x_outer_stride, .third = 1},
                                .statistic = {.first = 1},
                                .weight = a_.weight,
                                .weight_map = {.third = 1}};
    const RunPlan plan = plan_runs<T>(a_.outer, 1, a_.reduced);
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(stream_, plan.sets * plan.chunks, plan.sets);
    sums_of_runs(a_.arrays, maps, plan, slots);
    merge_to_lines(slots, slots_of(plan), lines);
    write_elements<T>(a_.arrays, write_with(lines), {a_.outer, a_.reduced, 1},
                      a_.grad_output_outer_stride, a_.x_outer_stride, a_.grad_x_outer_stride,
                      {.first = 1}, {.second = 1});
  }

  void columns() const {
    const ReductionMaps<T> maps{
        .grad_output = {.first = a_.grad_output_outer_stride, .second = a_.inner, .third = 1},
        .x = {.first = a_.x_outer_stride, .second = a_.inner, .third = 1},
        .statistic = {.first = a_.inner, .third = 1},
        .weight = a_.weight,
        .weight_map = {.second = 1}};
    const ColumnPlan plan = plan_columns(a_.outer, a_.reduced, a_.inner, column_unit<T>(a_.inner));
    const auto [slots, lines] =
        scratch<GradientSums<T>, GradientLine>(stream_, plan.slots * plan.sets(), plan.sets());
    sums_of_columns(a_.arrays, maps, a_.outer, a_.reduced, a_.inner, slots);
    merge_to_lines(slots, slots_of(plan), lines);
    write_columns<T>(a_.arrays, write_with(lines), a_.outer, a_.reduced, a_.inner, maps,
                     {.first = a_.grad_x_outer_stride, .second = a_.inner, .third = 1});
  }

  const AxisBackward<T>& a_;
  void* stream_;
};

}  // namespace

template <class T>
void backward_over_axis(const AxisBackward<T>& a) {
  Backward<T>(a).run();
}

template void backward_over_axis(const AxisBackward<float>&);
template void backward_over_axis(const AxisBackward<double>&);
template void backward_over_axis(const AxisBackward<float16>&);
template void backward_over_axis(const AxisBackward<bfloat16>&);

}  // namespace normdrop::NORMDROP_DEVICE
