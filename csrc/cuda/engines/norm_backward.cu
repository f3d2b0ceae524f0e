// Backward of every norm whose rows or channels do not fit on chip, for batch norm and layer norm:
// sums of g and g * x^ over sets, then elements. Reads grad_output and x twice, writes grad_x once.
#include "cuda/engines/norm_backward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
bool reads_aligned(const BackwardArrays<T>& a, const ReductionMaps<T>& maps, int unit) {
  return packs_lie_aligned<T>(a.grad_output, maps.grad_output, unit) &&
         packs_lie_aligned<T>(a.x, maps.x, unit);
}

template <class T, class Plan>
SumGradients<T, Plan> sums_to(GradientSums<T>* slots, const BackwardArrays<T>& a,
                              const ReductionMaps<T>& maps, const Plan& plan) {
  return {
      a.grad_output,   a.x,  a.statistics, maps.weight,   maps.grad_output, maps.x, maps.statistic,
      maps.weight_map, plan, slots,        maps.rectified};
}

template <class T>
void sums_of_runs(const BackwardArrays<T>& a, const ReductionMaps<T>& maps, const RunPlan& plan,
                  GradientSums<T>* slots) {
  const auto lie_aligned = [&](int unit) { return reads_aligned(a, maps, unit); };
  for_run_packs<T>(plan.length, lie_aligned, [&](auto unit, auto aligned) {
    launch("run_gradients", run_gradients<T, unit.is, aligned.is>,
           grid_of(plan.sets * plan.chunks, block_threads), a.stream,
           sums_to(slots, a, maps, plan));
  });
}

template <class T>
void sums_of_columns(const BackwardArrays<T>& a, const ReductionMaps<T>& maps, std::int64_t outer,
                     std::int64_t rows, std::int64_t columns, GradientSums<T>* slots) {
  const ColumnPlan plan = plan_columns(outer, rows, columns, column_unit<T>(columns));
  const auto lie_aligned = [&](int unit) { return reads_aligned(a, maps, unit); };
  for_packs<column_elements<T>>(columns, lie_aligned, [&](auto unit, auto aligned) {
    launch("column_gradients", column_gradients<T, unit.is, aligned.is>,
           grid_of(plan.blocks(), column_threads), a.stream, sums_to(slots, a, maps, plan));
  });
}

template <class T>
void merge_sums(const GradientMerge<T>& arguments, void* stream) {
  launch("merge_gradients", merge_gradients<T>,
         grid_of(merge_blocks(arguments.layout), merge_threads), stream, arguments);
}

template <class T>
void write_elements(const BackwardArrays<T>& a, const GradientWrite<T>& write,
                    const DenseShape& shape, std::int64_t grad_output_stride, std::int64_t x_stride,
                    std::int64_t grad_x_stride, const IndexMap& line_map,
                    const IndexMap& parameter_map) {
  constexpr int unit = vector_elements<T>;
  const bool in_vectors = shape.in_packs(unit) &&
                          packs_lie_aligned<T>(a.grad_output, grad_output_stride, unit) &&
                          packs_lie_aligned<T>(a.x, x_stride, unit) &&
                          packs_lie_aligned<T>(a.addend, write.addend_map.first, unit) &&
                          packs_lie_aligned<T>(a.grad_x, grad_x_stride, unit);
  for_either(in_vectors, [&](auto aligned) {
    const GradientElements<T> arguments{
        .grad_output = a.grad_output,
        .x = a.x,
        .grad_x = a.grad_x,
        .lines = write.lines,
        .weight = write.weight,
        .in = ShapeInPacks(shape, unit),
        .grad_output_outer_stride = grad_output_stride,
        .x_outer_stride = x_stride,
        .grad_x_outer_stride = grad_x_stride,
        .line_map = line_map,
        .parameter_map = parameter_map,
        .parameters_aligned = packs_lie_aligned<T>(write.weight.values, 0, unit),
        .constants = write.constants,
        .addend = a.addend,
        .addend_outer_stride = write.addend_map.first};
    launch("gradient_elements", gradient_elements<T, aligned.is>,
           grid_of(divided_up(arguments.in.packs(), block_threads * cuda_tuning::packs_per_thread),
                   block_threads),
           a.stream, arguments);
  });
}

template <class T>
void write_columns(const BackwardArrays<T>& a, const GradientWrite<T>& write, std::int64_t outer,
                   std::int64_t rows, std::int64_t columns, const ReductionMaps<T>& maps,
                   const IndexMap& grad_x_map) {
  const auto lie_aligned = [&](int unit) {
    return reads_aligned(a, maps, unit) && packs_lie_aligned<T>(a.grad_x, grad_x_map, unit) &&
           packs_lie_aligned<T>(a.addend, write.addend_map, unit);
  };
  for_packs<column_elements<T>>(columns, lie_aligned, [&](auto unit, auto aligned) {
    const ColumnPlan plan = plan_column_pass(outer, rows, columns, unit.is);
    const GradientOfColumns<T> arguments{.grad_output = a.grad_output,
                                         .x = a.x,
                                         .grad_x = a.grad_x,
                                         .lines = write.lines,
                                         .weight = write.weight,
                                         .grad_output_map = maps.grad_output,
                                         .x_map = maps.x,
                                         .grad_x_map = grad_x_map,
                                         .parameter_map = maps.weight_map,
                                         .plan = plan,
                                         .constants = write.constants,
                                         .addend = a.addend,
                                         .addend_map = write.addend_map};
    launch("gradient_of_columns", gradient_of_columns<T, unit.is, aligned.is>,
           grid_of(plan.blocks(), column_threads), a.stream, arguments);
  });
}

// The functions of one dtype.
#define NORMDROP_INSTANTIATE(T)                                                                  \
  template void sums_of_runs(const BackwardArrays<T>&, const ReductionMaps<T>&, const RunPlan&,  \
                             GradientSums<T>*);                                                  \
  template void sums_of_columns(const BackwardArrays<T>&, const ReductionMaps<T>&, std::int64_t, \
                                std::int64_t, std::int64_t, GradientSums<T>*);                   \
  template void merge_sums(const GradientMerge<T>&, void*);                                      \
  template void write_elements(const BackwardArrays<T>&, const GradientWrite<T>&,                \
                               const DenseShape&, std::int64_t, std::int64_t, std::int64_t,      \
                               const IndexMap&, const IndexMap&);                                \
  template void write_columns(const BackwardArrays<T>&, const GradientWrite<T>&, std::int64_t,   \
                              std::int64_t, std::int64_t, const ReductionMaps<T>&,               \
                              const IndexMap&)

NORMDROP_INSTANTIATE(float);
NORMDROP_INSTANTIATE(double);
NORMDROP_INSTANTIATE(float16);
NORMDROP_INSTANTIATE(bfloat16);
#undef NORMDROP_INSTANTIATE

}  // namespace normdrop::NORMDROP_DEVICE
