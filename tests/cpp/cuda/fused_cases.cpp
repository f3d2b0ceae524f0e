// Dropout, the sum with a residual, and a norm of that sum; the parametric rectifier.
#include "cuda/family_slices.h"
#include "cuda/groups.h"
#include "dropout_calls.h"
#include "norm_arrays.h"

namespace normdrop::driver {
namespace {

constexpr double scale = 1.5;  // a number of every dtype

DropoutDraw draw_from(std::uint64_t first_index) {
  return {0x0123456789ABCDEFu, 7, dropout::two_32 / 3 * 2, first_index};
}

// Every element has a word of its own.
bool is_kept(const DropoutDraw& draw, std::size_t i) {
  return dropout::word_of(draw, draw.first_index + i) < draw.threshold;
}

template <class T>
std::vector<T> dropped(const std::vector<T>& x, const DropoutDraw& draw,
                       const std::vector<T>* residual) {
  std::vector<T> sum(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool kept = is_kept(draw, i);
    const double value = kept ? static_cast<double>(x[i]) * scale : 0.0;
    sum[i] = static_cast<T>(value + (residual ? static_cast<double>((*residual)[i]) : 0.0));
  }
  return sum;
}

template <class T>
std::vector<double> as_doubles(const std::vector<T>& values) {
  return {values.begin(), values.end()};
}

// The norm's own problem, of which x is replaced by a sum that dropout makes.
template <class T, class Slices, class P>
struct FusedForward {
  DropoutDraw draw;
  std::vector<T> x;
  std::vector<T> residual;
  ForwardProblem<T, Slices, P> norm;
  Expected<T> sum;

  FusedForward(const Shape& shape, std::uint64_t first_index)
      : draw(draw_from(first_index)),
        x(noise_values<T>(11, shape.size())),
        residual(noise_values<T>(12, shape.size(), 0.5)),
        norm(shape, Data::ordinary, true, true) {
    norm.x = dropped(x, draw, &residual);
    sum.values = as_doubles(norm.x);
    for (std::int64_t s = 0; s < norm.slices.slices(); ++s) {
      const auto i = static_cast<std::size_t>(s);
      const Stats stats = stats_of(norm.x, norm.slices, s, norm.eps);
      norm.mean.values[i] = stats.mean;
      norm.inv_std.values[i] = stats.inv_std;
      normalise(norm.x, norm.parameters.weight, norm.parameters.bias, norm.slices, s, stats,
                &norm.y.values);
    }
  }
};

template <class Arguments, bool has_mean, class T, class Slices, class P>
void run(const Context& context, void (*operation)(const Arguments&), Memory& memory,
         FusedForward<T, Slices, P>& problem, const Variant& v) {
  const Shape& shape = problem.norm.slices.shape;
  Case one("dropout_add_%s from %d, %s; %s", has_mean ? "layer_norm" : "rms_norm",
           static_cast<int>(problem.draw.first_index), text(shape).c_str(), v.text().c_str());
  const Placement placement(memory, v);
  Array<T> sum_apart = placement.rows<T>(0, shape);
  Array<T> residual = placement.rows(1, shape, problem.residual);
  Array<T> x = placement.rows(2, shape, problem.x);
  Array<P> weight = placement.run(3, problem.norm.parameters.weight);
  Array<P> bias = placement.run(4, problem.norm.parameters.bias);
  Array<double> mean = placement.run<double>(5, problem.norm.slices.slices());
  Array<double> inv_std = placement.run<double>(6, problem.norm.slices.slices());
  Array<T> y = placement.rows<T>(7, shape);
  Array<T>& sum = v.in_place ? residual : sum_apart;
  Stream stream(context, v.threads);
  Arguments a{};
  a.dtype = dtype_of<T>;
  a.parameter_dtype = dtype_of<P>;
  a.outer = shape.outer;
  a.reduced = shape.middle;
  a.inner = shape.inner;
  a.x_outer_stride = x.stride();
  a.residual_outer_stride = residual.stride();
  a.sum_outer_stride = sum.stride();
  a.y_outer_stride = y.stride();
  a.eps = problem.norm.eps;
  a.draw = problem.draw;
  a.scale = scale;
  a.x = x.data();
  a.residual = residual.data();
  a.weight = weight.data();
  a.bias = bias.data();
  a.sum = sum.data();
  a.y = y.data();
  if constexpr (has_mean) a.mean = mean.data();
  a.inv_std = inv_std.data();
  a.stream = stream.handle();
  operation(a);
  stream.finish();
  problem.sum.check(one, "sum", sum, tolerance<T>);
  problem.norm.y.check(one, "y", y, 2 * tolerance<T>);
  if (has_mean) problem.norm.mean.check(one, "mean", mean, tolerance<float>);
  problem.norm.inv_std.check(one, "inv_std", inv_std, tolerance<float>);
  x.check_unchanged(one, "x", problem.x);
  if (!v.in_place) residual.check_unchanged(one, "residual", problem.residual);
}

template <class T, class Slices, class P>
struct FusedBackward {
  DropoutDraw draw;
  BackwardProblem<T, Slices, P> norm;
  std::vector<T> grad_sum;
  Expected<T> grad_residual;
  Expected<T> grad_x;

  FusedBackward(const Shape& shape, std::uint64_t first_index)
      : draw(draw_from(first_index)),
        norm(shape, Data::ordinary, true, false),
        grad_sum(noise_values<T>(13, shape.size())) {
    grad_residual.values = norm.grad_x.values;
    for (std::size_t i = 0; i < grad_sum.size(); ++i) {
      grad_residual.values[i] += static_cast<double>(grad_sum[i]);
    }
    for (std::size_t i = 0; i < grad_sum.size(); ++i) {
      const bool kept = is_kept(draw, i);
      grad_x.values.push_back(kept ? grad_residual.values[i] * scale : 0.0);
    }
  }
};

template <class Arguments, bool has_mean, class T, class Slices, class P>
void run(const Context& context, void (*operation)(const Arguments&), Memory& memory,
         FusedBackward<T, Slices, P>& problem, const Variant& v) {
  const Shape& shape = problem.norm.slices.shape;
  Case one("dropout_add_%s_backward from %d, %s; %s", has_mean ? "layer_norm" : "rms_norm",
           static_cast<int>(problem.draw.first_index), text(shape).c_str(), v.text().c_str());
  const Placement placement(memory, v);
  BackwardArrays<T, P> arrays(placement, problem.norm, v);
  Array<T> grad_sum = placement.rows(8, shape, problem.grad_sum);
  Array<T> grad_x = placement.rows<T>(9, shape);
  Array<T>& grad_residual = arrays.apart;
  Stream stream(context, v.threads);
  Arguments a{};
  a.dtype = dtype_of<T>;
  a.parameter_dtype = dtype_of<P>;
  a.outer = shape.outer;
  a.reduced = shape.middle;
  a.inner = shape.inner;
  a.grad_y_outer_stride = arrays.grad_output.stride();
  a.grad_sum_outer_stride = grad_sum.stride();
  a.sum_outer_stride = arrays.x.stride();
  a.grad_x_outer_stride = grad_x.stride();
  a.grad_residual_outer_stride = grad_residual.stride();
  a.draw = problem.draw;
  a.scale = scale;
  a.grad_y = arrays.grad_output.data();
  a.grad_sum = grad_sum.data();
  a.sum = arrays.x.data();
  if constexpr (has_mean) a.mean = arrays.mean.data();
  a.inv_std = arrays.inv_std.data();
  a.weight = arrays.weight();
  a.grad_x = grad_x.data();
  a.grad_residual = grad_residual.data();
  a.grad_weight = arrays.grad_weight();
  a.grad_bias = arrays.grad_bias();
  a.stream = stream.handle();
  operation(a);
  stream.finish();
  problem.grad_residual.check(one, "grad_residual", grad_residual, tolerance<T>);
  problem.grad_x.check(one, "grad_x", grad_x, 3 * tolerance<T>);
  if (v.wants(0)) {
    problem.norm.grad_weight.check(one, "grad_weight", arrays.grad_weight_values, tolerance<P>);
  }
  if (v.wants(1)) {
    problem.norm.grad_bias.check(one, "grad_bias", arrays.grad_bias_values, tolerance<P>);
  }
}

template <class Arguments, bool has_mean, template <class, class, class> class Problem, class T,
          class P>
void fused(const Context& context, void (*operation)(const Arguments&)) {
  using Slices = std::conditional_t<has_mean, LayerNormSlices, RmsNormSlices>;
  Memory memory;
  const std::int64_t each = forward_elements<T>;
  const std::vector<Shape> shapes{{5, 2 * vector_of<T>, 1}, {9, 13, 1},  {3, 40 * each, 1},
                                  {2, 200 * each, 1},       {2, 20, 12}, {2, 300 * each, 1}};
  std::uint64_t turn = 0;
  for (const Shape& shape : shapes) {
    Problem<T, Slices, P> problem(shape, turn % 3 * 4 + (turn % 4 == 2 ? 1 : 0));
    ++turn;
    Problem<T, Slices, P> elsewhere = problem;
    for (const Variant& v : few_variants(sizeof(T), 2, context.quick)) {
      run<Arguments, has_mean>(context, operation, memory, problem, v);
      const WithoutClusters other_card(SharedMemory::little);
      run<Arguments, has_mean>(context, operation, memory, elsewhere, v);
    }
    if (shape.size() > 1000) continue;
    for (const Variant& v : shifted_variants(sizeof(T), 2)) {
      run<Arguments, has_mean>(context, operation, memory, problem, v);
    }
  }
}

template <class T, class P>
void rectified(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{7, 5, 4 * vector_of<T>}, Shape{40, 36, 1},
                             Shape{300, 3, 1}, Shape{1, 1, 9000}}) {
    ForwardProblem<T, BatchNormSlices, P> problem(shape, Data::ordinary, true, false);
    problem.x = noise_values<T>(1, shape.size());
    for (std::int64_t s = 0; s < shape.middle; ++s) {
      problem.slices.for_each(s, [&](std::size_t i, std::size_t p) {
        const auto x = static_cast<double>(problem.x[i]);
        problem.y.values[i] = x > 0 ? x : x * parameter_or(problem.parameters.weight, p, 1.0);
      });
    }
    std::vector<Variant> variants = few_variants(sizeof(T), 0, context.quick);
    const auto shifted = shifted_variants(sizeof(T), 0);
    variants.insert(variants.end(), shifted.begin(), shifted.end());
    for (const Variant& v : variants) {
      Case one("prelu_forward %s; %s", problem.text().c_str(), v.text().c_str());
      ForwardArrays<T, P> arrays(Placement(memory, v), problem, v);
      Stream stream(context, v.threads);
      context.table.prelu_forward({.dtype = dtype_of<T>,
                                   .parameter_dtype = dtype_of<P>,
                                   .batch = shape.outer,
                                   .channels = shape.middle,
                                   .inner = shape.inner,
                                   .x_batch_stride = arrays.x.stride(),
                                   .y_batch_stride = arrays.y().stride(),
                                   .x = arrays.x.data(),
                                   .weight = arrays.weight(),
                                   .y = arrays.y().data(),
                                   .stream = stream.handle()});
      stream.finish();
      arrays.check(one, problem);
    }
  }
}

template <class T, class P>
void rectified_backward(const Context& context) {
  Memory memory;
  for (const Shape& shape : {Shape{3, 4, 9}, Shape{7, 5, 4 * vector_of<T>}, Shape{40, 36, 1},
                             Shape{300, 3, 1}, Shape{1, 1, 9000}}) {
    BackwardProblem<T, BatchNormSlices, P> problem(shape, Data::ordinary, true, false);
    problem.x = noise_values<T>(1, shape.size());
    for (double& sum : problem.grad_weight.values) sum = 0.0;
    for (std::int64_t s = 0; s < shape.middle; ++s) {
      problem.slices.for_each(s, [&](std::size_t i, std::size_t p) {
        const auto x = static_cast<double>(problem.x[i]);
        const auto grad = static_cast<double>(problem.grad_output[i]);
        const double weight = parameter_or(problem.parameters.weight, p, 1.0);
        problem.grad_x.values[i] = x > 0 ? grad : grad * weight;
        if (!(x > 0)) problem.grad_weight.values[p] += grad * x;
      });
    }
    std::vector<Variant> variants = few_variants(sizeof(T), 1, context.quick);
    const auto shifted = shifted_variants(sizeof(T), 1);
    variants.insert(variants.end(), shifted.begin(), shifted.end());
    for (const Variant& v : variants) {
      Case one("prelu_backward %s; %s", problem.text().c_str(), v.text().c_str());
      BackwardArrays<T, P> arrays(Placement(memory, v), problem, v);
      Stream stream(context, v.threads);
      context.table.prelu_backward({.dtype = dtype_of<T>,
                                    .parameter_dtype = dtype_of<P>,
                                    .batch = shape.outer,
                                    .channels = shape.middle,
                                    .inner = shape.inner,
                                    .grad_output_batch_stride = arrays.grad_output.stride(),
                                    .x_batch_stride = arrays.x.stride(),
                                    .grad_x_batch_stride = arrays.grad_x().stride(),
                                    .grad_output = arrays.grad_output.data(),
                                    .x = arrays.x.data(),
                                    .weight = arrays.weight(),
                                    .grad_x = arrays.grad_x().data(),
                                    .grad_weight = arrays.grad_weight(),
                                    .stream = stream.handle()});
      stream.finish();
      arrays.check(one, problem);
    }
  }
}

template <class T, class P>
void add_groups(const std::string& dtype, std::vector<Group>* groups) {
  const auto add = [&](const char* name, void (*run)(const Context&)) {
    groups->push_back({name + dtype, run});
  };
  add("dropout_add_layer_norm_forward/axis/", [](const Context& context) {
    fused<DropoutAddLayerNormForward, true, FusedForward, T, P>(
        context, context.table.dropout_add_layer_norm_forward);
  });
  add("dropout_add_layer_norm_backward/axis/", [](const Context& context) {
    fused<DropoutAddLayerNormBackward, true, FusedBackward, T, P>(
        context, context.table.dropout_add_layer_norm_backward);
  });
  add("dropout_add_rms_norm_forward/axis/", [](const Context& context) {
    fused<DropoutAddRmsNormForward, false, FusedForward, T, P>(
        context, context.table.dropout_add_rms_norm_forward);
  });
  add("dropout_add_rms_norm_backward/axis/", [](const Context& context) {
    fused<DropoutAddRmsNormBackward, false, FusedBackward, T, P>(
        context, context.table.dropout_add_rms_norm_backward);
  });
  add("prelu_forward/channels/", rectified<T, P>);
  add("prelu_backward/channels/", rectified_backward<T, P>);
}

}  // namespace

std::vector<Group> fused_groups() {
  std::vector<Group> groups;
  add_groups<float, float>("float32", &groups);
  add_groups<double, double>("float64", &groups);
  add_groups<Float16, Float16>("float16", &groups);
  add_groups<BFloat16, BFloat16>("bfloat16", &groups);
  add_groups<Float16, float>("float16-float32", &groups);
  add_groups<BFloat16, float>("bfloat16-float32", &groups);
  return groups;
}

}  // namespace normdrop::driver
