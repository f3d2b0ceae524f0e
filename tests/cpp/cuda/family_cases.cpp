// RMS norm, weight norm, group and instance norm, and the halves of batch norm: rows of a team, a
// block, a cluster and through memory, columns, and arrays that lie on no boundaries.
#include "cuda/family_slices.h"
#include "cuda/groups.h"
#include "norm_arrays.h"

namespace normdrop::driver {
namespace {

template <class T, class P>
using RmsForward = ForwardProblem<T, RmsNormSlices, P>;
template <class T, class P>
using RmsBackward = BackwardProblem<T, RmsNormSlices, P>;

template <class T, class P>
void run(const Context& context, Memory& memory, RmsForward<T, P>& problem, const Variant& v) {
  Case one("rms_norm_forward %s; %s", problem.text().c_str(), v.text().c_str());
  const Shape& shape = problem.slices.shape;
  const Placement placement(memory, v);
  ForwardArrays<T, P> arrays(placement, problem, v);
  Array<double> inv_std = placement.run<double>(4, problem.slices.slices());
  Stream stream(context, v.threads);
  context.table.rms_norm_forward({.dtype = dtype_of<T>,
                                  .parameter_dtype = dtype_of<P>,
                                  .outer = shape.outer,
                                  .reduced = shape.middle,
                                  .inner = shape.inner,
                                  .x_outer_stride = arrays.x.stride(),
                                  .y_outer_stride = arrays.y().stride(),
                                  .eps = problem.eps,
                                  .x = arrays.x.data(),
                                  .weight = arrays.weight(),
                                  .bias = arrays.bias(),
                                  .y = arrays.y().data(),
                                  .inv_std = v.wants(0) ? inv_std.data() : nullptr,
                                  .stream = stream.handle()});
  stream.finish();
  arrays.check(one, problem);
  if (v.wants(0)) problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

template <class T, class P>
void run(const Context& context, Memory& memory, RmsBackward<T, P>& problem, const Variant& v) {
  Case one("rms_norm_backward %s; %s", problem.text().c_str(), v.text().c_str());
  const Shape& shape = problem.slices.shape;
  BackwardArrays<T, P> arrays(Placement(memory, v), problem, v);
  Stream stream(context, v.threads);
  context.table.rms_norm_backward({.dtype = dtype_of<T>,
                                   .parameter_dtype = dtype_of<P>,
                                   .outer = shape.outer,
                                   .reduced = shape.middle,
                                   .inner = shape.inner,
                                   .grad_output_outer_stride = arrays.grad_output.stride(),
                                   .x_outer_stride = arrays.x.stride(),
                                   .grad_x_outer_stride = arrays.grad_x().stride(),
                                   .grad_output = arrays.grad_output.data(),
                                   .x = arrays.x.data(),
                                   .inv_std = arrays.inv_std.data(),
                                   .weight = arrays.weight(),
                                   .grad_x = arrays.grad_x().data(),
                                   .grad_weight = arrays.grad_weight(),
                                   .grad_bias = arrays.grad_bias(),
                                   .stream = stream.handle()});
  stream.finish();
  arrays.check(one, problem);
}

template <class T, class P>
using WeightForward = ForwardProblem<T, WeightNormSlices, P>;
template <class T, class P>
using WeightBackward = BackwardProblem<T, WeightNormSlices, P>;

Expected<double> reciprocals(const Expected<double>& of) {
  Expected<double> result = of;
  for (double& value : result.values) value = 1.0 / value;
  return result;
}

template <class T, class P>
void run(const Context& context, Memory& memory, WeightForward<T, P>& problem, const Variant& v) {
  Case one("weight_norm_forward %s; %s", problem.text().c_str(), v.text().c_str());
  const Shape& shape = problem.slices.shape;
  const Placement placement(memory, v);
  ForwardArrays<T, P> arrays(placement, problem, v);
  Array<double> norm = placement.run<double>(4, shape.middle);
  Stream stream(context, v.threads);
  context.table.weight_norm_forward({.dtype = dtype_of<T>,
                                     .parameter_dtype = dtype_of<P>,
                                     .outer = shape.outer,
                                     .kept = shape.middle,
                                     .inner = shape.inner,
                                     .v_outer_stride = arrays.x.stride(),
                                     .w_outer_stride = arrays.y().stride(),
                                     .v = arrays.x.data(),
                                     .g = arrays.weight(),
                                     .w = arrays.y().data(),
                                     .norm = v.wants(0) ? norm.data() : nullptr,
                                     .stream = stream.handle()});
  stream.finish();
  arrays.check(one, problem);
  if (!v.wants(0)) return;
  reciprocals(problem.inv_std).check(one, "norm", norm, tolerance<double>);
}

template <class T, class P>
void run(const Context& context, Memory& memory, WeightBackward<T, P>& problem, const Variant& v) {
  Case one("weight_norm_backward %s; %s", problem.text().c_str(), v.text().c_str());
  const Shape& shape = problem.slices.shape;
  BackwardArrays<T, P> arrays(Placement(memory, v), problem, v);
  std::vector<double> norms = problem.inv_std;
  for (double& norm : norms) norm = 1.0 / norm;
  Array<double> norm = Placement(memory, v).run(8, norms);
  Stream stream(context, v.threads);
  context.table.weight_norm_backward({.dtype = dtype_of<T>,
                                      .parameter_dtype = dtype_of<P>,
                                      .outer = shape.outer,
                                      .kept = shape.middle,
                                      .inner = shape.inner,
                                      .grad_w_outer_stride = arrays.grad_output.stride(),
                                      .v_outer_stride = arrays.x.stride(),
                                      .grad_v_outer_stride = arrays.grad_x().stride(),
                                      .grad_w = arrays.grad_output.data(),
                                      .v = arrays.x.data(),
                                      .g = arrays.weight(),
                                      .norm = norm.data(),
                                      .grad_v = arrays.grad_x().data(),
                                      .grad_g = arrays.grad_weight(),
                                      .stream = stream.handle()});
  stream.finish();
  Variant without_bias = v;
  without_bias.outputs &= 1u;
  const Variant& asked = without_bias;
  problem.grad_x.check(one, "grad_v", arrays.grad_x(), tolerance<T>);
  if (asked.wants(0)) {
    problem.grad_weight.check(one, "grad_g", arrays.grad_weight_values, tolerance<P>);
  }
}

template <class T, class P, std::int64_t before, std::int64_t groups>
using GroupForward = ForwardProblem<T, GroupNormSlices<before, groups>, P>;
template <class T, class P, std::int64_t before, std::int64_t groups>
using GroupBackward = BackwardProblem<T, GroupNormSlices<before, groups>, P>;

// Instance norm where there is a group for each channel.
template <class T, class P, std::int64_t before, std::int64_t groups>
void run(const Context& context, Memory& memory, GroupForward<T, P, before, groups>& problem,
         const Variant& v) {
  Case one("group_norm_forward %d before, %d groups, %s; %s", static_cast<int>(before),
           static_cast<int>(groups), problem.text().c_str(), v.text().c_str());
  const auto& slices = problem.slices;
  const Placement placement(memory, v);
  ForwardArrays<T, P> arrays(placement, problem, v);
  Array<double> mean = placement.run<double>(4, slices.slices());
  Array<double> inv_std = placement.run<double>(5, slices.slices());
  Stream stream(context, v.threads);
  const GroupNormForward arguments{.dtype = dtype_of<T>,
                                   .parameter_dtype = dtype_of<P>,
                                   .batch = slices.shape.outer,
                                   .before = before,
                                   .channels = slices.shape.middle,
                                   .after = slices.after(),
                                   .groups = groups,
                                   .x_batch_stride = arrays.x.stride(),
                                   .y_batch_stride = arrays.y().stride(),
                                   .eps = problem.eps,
                                   .x = arrays.x.data(),
                                   .weight = arrays.weight(),
                                   .bias = arrays.bias(),
                                   .y = arrays.y().data(),
                                   .mean = v.wants(0) ? mean.data() : nullptr,
                                   .inv_std = v.wants(1) ? inv_std.data() : nullptr,
                                   .stream = stream.handle()};
  if (groups == slices.shape.middle) {
    context.table.instance_norm_forward({arguments});
  } else {
    context.table.group_norm_forward(arguments);
  }
  stream.finish();
  arrays.check(one, problem);
  if (v.wants(0)) problem.mean.check(one, "mean", mean, tolerance<double>);
  if (v.wants(1)) problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

template <class T, class P, std::int64_t before, std::int64_t groups>
void run(const Context& context, Memory& memory, GroupBackward<T, P, before, groups>& problem,
         const Variant& v) {
  Case one("group_norm_backward %d before, %d groups, %s; %s", static_cast<int>(before),
           static_cast<int>(groups), problem.text().c_str(), v.text().c_str());
  const auto& slices = problem.slices;
  BackwardArrays<T, P> arrays(Placement(memory, v), problem, v);
  Stream stream(context, v.threads);
  const GroupNormBackward arguments{.dtype = dtype_of<T>,
                                    .parameter_dtype = dtype_of<P>,
                                    .batch = slices.shape.outer,
                                    .before = before,
                                    .channels = slices.shape.middle,
                                    .after = slices.after(),
                                    .groups = groups,
                                    .grad_output_batch_stride = arrays.grad_output.stride(),
                                    .x_batch_stride = arrays.x.stride(),
                                    .grad_x_batch_stride = arrays.grad_x().stride(),
                                    .grad_output = arrays.grad_output.data(),
                                    .x = arrays.x.data(),
                                    .mean = arrays.mean.data(),
                                    .inv_std = arrays.inv_std.data(),
                                    .weight = arrays.weight(),
                                    .grad_x = arrays.grad_x().data(),
                                    .grad_weight = arrays.grad_weight(),
                                    .grad_bias = arrays.grad_bias(),
                                    .stream = stream.handle()};
  if (groups == slices.shape.middle) {
    context.table.instance_norm_backward({arguments});
  } else {
    context.table.group_norm_backward(arguments);
  }
  stream.finish();
  arrays.check(one, problem);
}

// On an H200, and on a card that has to go through memory, whose bits may be others.
template <class Problem>
void on_all_cards(const Context& context, Memory& memory, Problem& problem,
                  const std::vector<Variant>& variants) {
  Problem elsewhere = problem;
  for (const Variant& v : variants) {
    run(context, memory, problem, v);
    const WithoutClusters other_card(SharedMemory::little);
    run(context, memory, elsewhere, v);
  }
}

template <class T, bool backward, class Problem>
void over(const Context& context, const std::vector<Shape>& shapes) {
  Memory memory;
  std::vector<Variant> variants = few_variants(sizeof(T), 2, context.quick);
  int turn = 0;
  for (const Shape& shape : shapes) {
    const Data data = turn % 3 == 2 ? Data::far_from_zero : Data::ordinary;
    Problem problem(shape, data, turn % 4 != 1, !backward && turn % 4 != 2);
    on_all_cards(context, memory, problem, variants);
    if (turn % 5 == 0) {
      for (const Variant& v : shifted_variants(sizeof(T), 2)) run(context, memory, problem, v);
    }
    ++turn;
  }
}

template <class T>
std::vector<Shape> axis_shapes() {
  const std::int64_t each = forward_elements<T>;
  const std::int64_t vector = vector_of<T>;
  return {{9, 5 * vector + 1, 1},
          {33, vector, 1},
          {7, 4 * each, 1},
          {3, 30 * each, 1},
          {2, 100 * each, 1},
          {2, 128 * each - 3, 1},
          {1, 256 * each, 1},
          {2, 256 * each + 8, 1},
          {1, 5 * 256 * each, 1},
          {2, 20, 40},
          {3, 9, 37},
          {1, 300, 3}};
}

// Weight norm has no bias and always a weight.
template <class T, bool backward, class Problem>
void of_kept(const Context& context) {
  Memory memory;
  const std::int64_t chunk = 256 * forward_elements<T>;
  const std::vector<Shape> shapes{{3, 4, 9},         {1, 3, 5 * vector_of<T>},
                                  {1, 2, chunk + 8}, {40, 36, 1},
                                  {300, 3, 1},       {2, 2, chunk}};
  for (const Shape& shape : shapes) {
    Problem problem(shape, Data::ordinary, true, false);
    if constexpr (!backward) {
      problem.eps = 0.0;
      for (std::int64_t s = 0; s < problem.slices.slices(); ++s) {
        const Stats stats = stats_of(problem.x, problem.slices, s, 0.0);
        problem.inv_std.values[static_cast<std::size_t>(s)] = stats.inv_std;
        normalise(problem.x, problem.parameters.weight, problem.parameters.bias, problem.slices, s,
                  stats, &problem.y.values);
      }
    }
    on_all_cards(context, memory, problem, few_variants(sizeof(T), 2, context.quick));
    for (const Variant& v : shifted_variants(sizeof(T), 2)) run(context, memory, problem, v);
  }
}

template <class T, class P, template <class, class, std::int64_t, std::int64_t> class Problem,
          bool backward>
void over_groups(const Context& context) {
  const std::int64_t each = forward_elements<T>;
  const std::int64_t vector = vector_of<T>;
  over<T, backward, Problem<T, P, 1, 3>>(
      context,
      {{5, 6, 2 * vector}, {2, 6, 7}, {3, 12, 1}, {2, 6, 40 * each}, {1, 6, 128 * each + 5}});
  // Packs of columns that belong to two groups.
  over<T, backward, Problem<T, P, 5, 4>>(context, {{3, 12, 5}});
  over<T, backward, Problem<T, P, 5, 3>>(context, {{3, 6 * vector, 5}, {2, 6, 5}, {2, 6, 35}});
}
template <class T, class P, template <class, class, std::int64_t, std::int64_t> class Problem,
          bool backward>
void over_instances(const Context& context) {
  over<T, backward, Problem<T, P, 1, 4>>(context,
                                         {{3, 4, 4 * vector_of<T>}, {2, 4, 49}, {2, 4, 1}});
  over<T, backward, Problem<T, P, 6, 4>>(context, {{2, 4, 6}});
}

// The halves of batch norm give what the whole gives.
template <class T>
void statistics(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{40, 36, 1}, Shape{2, 2, 9000}}) {
    ForwardProblem<T, BatchNormSlices, T> problem(shape, Data::ordinary, true, true);
    for (const Variant& v : few_variants(sizeof(T), 0, context.quick)) {
      Case one("batch_stats %s; %s", problem.text().c_str(), v.text().c_str());
      const Placement placement(memory, v);
      Array<T> x = placement.rows(1, shape, problem.x);
      Array<double> mean = placement.run<double>(4, shape.middle);
      Array<double> var = placement.run<double>(5, shape.middle);
      Array<double> inv_std = placement.run<double>(6, shape.middle);
      Stream stream(context, v.threads);
      context.table.batch_stats({.dtype = dtype_of<T>,
                                 .batch = shape.outer,
                                 .channels = shape.middle,
                                 .inner = shape.inner,
                                 .x_batch_stride = x.stride(),
                                 .eps = problem.eps,
                                 .x = x.data(),
                                 .mean = mean.data(),
                                 .var = var.data(),
                                 .inv_std = inv_std.data(),
                                 .stream = stream.handle()});
      stream.finish();
      x.check_unchanged(one, "x", problem.x);
      problem.mean.check(one, "mean", mean, tolerance<double>);
      problem.var.check(one, "var", var, tolerance<double>);
      problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
    }
  }
}

template <class T, class P>
void applied(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{40, 36, 1}, Shape{2, 2, 900}}) {
    ForwardProblem<T, BatchNormSlices, P> problem(shape, Data::ordinary, true, true);
    for (const Variant& v : few_variants(sizeof(T), 0, context.quick)) {
      Case one("batch_norm_apply %s; %s", problem.text().c_str(), v.text().c_str());
      const Placement placement(memory, v);
      ForwardArrays<T, P> arrays(placement, problem, v);
      Array<double> mean = placement.run(4, problem.mean.values);
      Array<double> inv_std = placement.run(5, problem.inv_std.values);
      Stream stream(context, v.threads);
      context.table.batch_norm_apply({.dtype = dtype_of<T>,
                                      .parameter_dtype = dtype_of<P>,
                                      .batch = shape.outer,
                                      .channels = shape.middle,
                                      .inner = shape.inner,
                                      .x_batch_stride = arrays.x.stride(),
                                      .y_batch_stride = arrays.y().stride(),
                                      .x = arrays.x.data(),
                                      .mean = mean.data(),
                                      .inv_std = inv_std.data(),
                                      .weight = arrays.weight(),
                                      .bias = arrays.bias(),
                                      .y = arrays.y().data(),
                                      .stream = stream.handle()});
      stream.finish();
      arrays.check(one, problem);
    }
  }
}

template <class T>
void gradient_sums(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{40, 36, 1}, Shape{2, 2, 9000}}) {
    BackwardProblem<T, BatchNormSlices, double> problem(shape, Data::ordinary, false, false);
    for (const Variant& v : few_variants(sizeof(T), 0, context.quick)) {
      Case one("batch_norm_gradient_sums %s; %s", problem.text().c_str(), v.text().c_str());
      BackwardArrays<T, double> arrays(Placement(memory, v), problem, v);
      Stream stream(context, v.threads);
      context.table.batch_norm_gradient_sums(
          {.dtype = dtype_of<T>,
           .batch = shape.outer,
           .channels = shape.middle,
           .inner = shape.inner,
           .grad_output_batch_stride = arrays.grad_output.stride(),
           .x_batch_stride = arrays.x.stride(),
           .grad_output = arrays.grad_output.data(),
           .x = arrays.x.data(),
           .mean = arrays.mean.data(),
           .inv_std = arrays.inv_std.data(),
           .grad = arrays.grad_bias_values.data(),
           .grad_x_hat = arrays.grad_weight_values.data(),
           .stream = stream.handle()});
      stream.finish();
      problem.grad_bias.check(one, "grad", arrays.grad_bias_values, tolerance<double>);
      problem.grad_weight.check(one, "grad_x_hat", arrays.grad_weight_values, tolerance<double>);
    }
  }
}

template <class T, class P>
void backward_applied(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{40, 36, 1}, Shape{2, 2, 900}}) {
    BackwardProblem<T, BatchNormSlices, P> problem(shape, Data::ordinary, true, false);
    for (const Variant& v : few_variants(sizeof(T), 0, context.quick)) {
      Case one("batch_norm_backward_apply %s; %s", problem.text().c_str(), v.text().c_str());
      const Placement placement(memory, v);
      BackwardArrays<T, P> arrays(placement, problem, v);
      Array<double> grad = placement.run(8, problem.grad_bias.values);
      Array<double> grad_x_hat = placement.run(9, problem.grad_weight.values);
      Stream stream(context, v.threads);
      context.table.batch_norm_backward_apply(
          {.dtype = dtype_of<T>,
           .parameter_dtype = dtype_of<P>,
           .batch = shape.outer,
           .channels = shape.middle,
           .inner = shape.inner,
           .grad_output_batch_stride = arrays.grad_output.stride(),
           .x_batch_stride = arrays.x.stride(),
           .grad_x_batch_stride = arrays.grad_x().stride(),
           .grad_output = arrays.grad_output.data(),
           .x = arrays.x.data(),
           .mean = arrays.mean.data(),
           .inv_std = arrays.inv_std.data(),
           .weight = arrays.weight(),
           .grad = grad.data(),
           .grad_x_hat = grad_x_hat.data(),
           .count = static_cast<double>(problem.slices.length()),
           .grad_x = arrays.grad_x().data(),
           .stream = stream.handle()});
      stream.finish();
      problem.grad_x.check(one, "grad_x", arrays.grad_x(), tolerance<T>);
    }
  }
}

template <class T, class P>
void add_groups(const std::string& dtype, std::vector<Group>* groups) {
  const auto add = [&](const char* name, void (*run)(const Context&)) {
    groups->push_back({name + dtype, run});
  };
  add("rms_norm_forward/axis/",
      [](const Context& context) { over<T, false, RmsForward<T, P>>(context, axis_shapes<T>()); });
  add("rms_norm_backward/axis/",
      [](const Context& context) { over<T, true, RmsBackward<T, P>>(context, axis_shapes<T>()); });
  add("weight_norm_forward/kept/", of_kept<T, false, WeightForward<T, P>>);
  add("weight_norm_backward/kept/", of_kept<T, true, WeightBackward<T, P>>);
  add("group_norm_forward/groups/", over_groups<T, P, GroupForward, false>);
  add("group_norm_backward/groups/", over_groups<T, P, GroupBackward, true>);
  add("instance_norm_forward/channels/", over_instances<T, P, GroupForward, false>);
  add("instance_norm_backward/channels/", over_instances<T, P, GroupBackward, true>);
  add("batch_norm_apply/channels/", applied<T, P>);
  add("batch_norm_backward_apply/channels/", backward_applied<T, P>);
}

template <class T>
void add_sums(const std::string& dtype, std::vector<Group>* groups) {
  groups->push_back({"batch_stats/channels/" + dtype, statistics<T>});
  groups->push_back({"batch_norm_gradient_sums/channels/" + dtype, gradient_sums<T>});
}

}  // namespace

std::vector<Group> family_groups() {
  std::vector<Group> groups;
  add_groups<float, float>("float32", &groups);
  add_groups<double, double>("float64", &groups);
  add_groups<Float16, Float16>("float16", &groups);
  add_groups<BFloat16, BFloat16>("bfloat16", &groups);
  add_groups<Float16, float>("float16-float32", &groups);
  add_groups<BFloat16, float>("bfloat16-float32", &groups);
  add_sums<float>("float32", &groups);
  add_sums<double>("float64", &groups);
  add_sums<Float16>("float16", &groups);
  add_sums<BFloat16>("bfloat16", &groups);
  return groups;
}

}  // namespace normdrop::driver
