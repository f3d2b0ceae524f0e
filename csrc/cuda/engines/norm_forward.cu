// Forward of every norm whose rows or channels do not fit on chip, for batch norm and layer norm:
// moments of chunks, statistics of sets, elements. Reads x twice and writes y once.
#include "cuda/engines/norm_forward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
void merge_to_normalisers(const ForwardArrays<T>& a, const Moments* slots, const SlotLayout& layout,
                          Normaliser* normalisers) {
  launch("merge_moments", merge_moments<T>, grid_of(merge_blocks(layout), merge_threads), a.stream,
         slots, layout, a.measure, a.statistics, normalisers);
}

template <bool finite, class T>
void apply_to_runs(const ForwardArrays<T>& a, const RunsInArray& in,
                   const Normaliser* normalisers) {
  constexpr int unit = vector_elements<T>;
  const bool in_vectors = in.shape.in_packs(unit) &&
                          packs_lie_aligned<T>(a.x, in.x_outer_stride, unit) &&
                          packs_lie_aligned<T>(a.y, in.y_outer_stride, unit);
  const bool parameters_aligned = packs_lie_aligned<T>(a.weight.values, 0, unit) &&
                                  packs_lie_aligned<T>(a.bias.values, 0, unit);
  for_either(in_vectors, [&](auto aligned) {
    const NormaliseElements<T> arguments{a.x,
                                         a.y,
                                         normalisers,
                                         a.weight,
                                         a.bias,
                                         ShapeInPacks(in.shape, unit),
                                         in.x_outer_stride,
                                         in.y_outer_stride,
                                         in.normaliser_map,
                                         Quotient(in.middle_together),
                                         in.parameter_map,
                                         parameters_aligned};
    launch("normalise_elements", normalise_elements<T, aligned.is, finite>,
           grid_of(divided_up(arguments.in.packs(), block_threads * cuda_tuning::packs_per_thread),
                   block_threads),
           a.stream, arguments);
  });
}

template <bool finite, class T>
void apply_to_columns(const ForwardArrays<T>& a, const ColumnsInArray& in,
                      const Normaliser* normalisers) {
  const auto lie_aligned = [&](int unit) {
    return packs_lie_aligned<T>(a.x, in.x_map, unit) && packs_lie_aligned<T>(a.y, in.y_map, unit);
  };
  for_packs<column_elements<T>>(in.columns, lie_aligned, [&](auto unit, auto aligned) {
    const ColumnPlan plan = plan_column_pass(in.outer, in.rows, in.columns, unit.is);
    const NormaliseColumns<T> arguments{.x = a.x,
                                        .y = a.y,
                                        .normalisers = normalisers,
                                        .columns_together = Quotient(in.columns_together),
                                        .weight = a.weight,
                                        .bias = a.bias,
                                        .x_map = in.x_map,
                                        .y_map = in.y_map,
                                        .parameter_map = in.parameter_map,
                                        .plan = plan};
    launch("normalise_columns", normalise_columns<T, unit.is, aligned.is, finite>,
           grid_of(plan.blocks(), column_threads), a.stream, arguments);
  });
}

template <class T>
void normalisers_of_runs(const ForwardArrays<T>& a, const RunsInArray& in, Moments* slots,
                         Normaliser* normalisers) {
  const RunPlan plan = plan_runs<T>(in.sets, in.runs, in.length);
  const auto lie_aligned = [&](int unit) { return packs_lie_aligned<T>(a.x, in.x_map, unit); };
  for_run_packs<T>(in.length, lie_aligned, [&](auto unit, auto aligned) {
    launch("run_moments", run_moments<T, unit.is, aligned.is>,
           grid_of(plan.sets * plan.chunks, block_threads), a.stream, a.x, in.x_map, plan,
           a.measure.statistic(), slots);
  });
  merge_to_normalisers(a, slots, slots_of(plan), normalisers);
}

template <class T>
void forward_of_runs(const ForwardArrays<T>& a, const RunsInArray& in) {
  const RunPlan plan = plan_runs<T>(in.sets, in.runs, in.length);
  const std::int64_t blocks = plan.sets * plan.chunks;
  const auto [slots, normalisers] = scratch<Moments, Normaliser>(a.stream, blocks, plan.sets);
  normalisers_of_runs(a, in, slots, normalisers);
  if (a.y != nullptr) apply_to_runs<true>(a, in, normalisers);
}

template <class T>
void forward_of_columns(const ForwardArrays<T>& a, const ColumnsInArray& in) {
  const ColumnPlan plan = plan_columns(in.outer, in.rows, in.columns, column_unit<T>(in.columns));
  const auto [slots, normalisers] =
      scratch<Moments, Normaliser>(a.stream, plan.slots * plan.sets(), plan.sets());
  const auto lie_aligned = [&](int unit) { return packs_lie_aligned<T>(a.x, in.x_map, unit); };
  for_packs<column_elements<T>>(in.columns, lie_aligned, [&](auto unit, auto aligned) {
    launch("column_moments", column_moments<T, unit.is, aligned.is>,
           grid_of(plan.blocks(), column_threads), a.stream, a.x, in.x_map, plan,
           a.measure.statistic(), slots);
  });
  merge_to_normalisers(a, slots, slots_of(plan), normalisers);
  if (a.y != nullptr) apply_to_columns<true>(a, in, normalisers);
}

// The functions of one dtype.
#define NORMDROP_INSTANTIATE(T)                                                            \
  template void forward_of_runs(const ForwardArrays<T>&, const RunsInArray&);              \
  template void normalisers_of_runs(const ForwardArrays<T>&, const RunsInArray&, Moments*, \
                                    Normaliser*);                                          \
  template void forward_of_columns(const ForwardArrays<T>&, const ColumnsInArray&);        \
  template void apply_to_runs<true>(const ForwardArrays<T>&, const RunsInArray&,           \
                                    const Normaliser*);                                    \
  template void apply_to_columns<true>(const ForwardArrays<T>&, const ColumnsInArray&,     \
                                       const Normaliser*);                                 \
  template void apply_to_runs<false>(const ForwardArrays<T>&, const RunsInArray&,          \
                                     const Normaliser*);                                   \
  template void apply_to_columns<false>(const ForwardArrays<T>&, const ColumnsInArray&,    \
                                        const Normaliser*)

NORMDROP_INSTANTIATE(float);
NORMDROP_INSTANTIATE(double);
NORMDROP_INSTANTIATE(float16);
NORMDROP_INSTANTIATE(bfloat16);
#undef NORMDROP_INSTANTIATE

}  // namespace normdrop::NORMDROP_DEVICE
