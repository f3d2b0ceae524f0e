// One call of layer norm, forward or backward, and its checks. P is the type of the parameters.
#pragma once

#include "norm_arrays.h"

namespace normdrop::driver::layer_norm {

template <class T, class P = T>
using Forward = ForwardProblem<T, LayerNormSlices, P>;
template <class T, class P = T>
using Backward = BackwardProblem<T, LayerNormSlices, P>;

// Optional outputs: mean and inv_std.
template <class T, class P>
void run(const Context& context, Memory& memory, Forward<T, P>& problem, const Variant& variant) {
  Case one("layer_norm_forward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const Placement placement(memory, variant);
  ForwardArrays<T, P> arrays(placement, problem, variant);
  Array<double> mean = placement.run<double>(4, problem.slices.slices());
  Array<double> inv_std = placement.run<double>(5, problem.slices.slices());
  Stream stream(context, variant.threads);
  context.table.layer_norm_forward({
      .dtype = dtype_of<T>,
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
      .mean = variant.wants(0) ? mean.data() : nullptr,
      .inv_std = variant.wants(1) ? inv_std.data() : nullptr,
      .stream = stream.handle(),
  });
  stream.finish();
  arrays.check(one, problem);
  if (variant.wants(0)) problem.mean.check(one, "mean", mean, tolerance<double>);
  if (variant.wants(1)) problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

template <class T, class P>
void run(const Context& context, Memory& memory, Backward<T, P>& problem, const Variant& variant) {
  Case one("layer_norm_backward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  BackwardArrays<T, P> arrays(Placement(memory, variant), problem, variant);
  Stream stream(context, variant.threads);
  context.table.layer_norm_backward({
      .dtype = dtype_of<T>,
      .parameter_dtype = dtype_of<P>,
      .outer = shape.outer,
      .reduced = shape.middle,
      .inner = shape.inner,
      .grad_output_outer_stride = arrays.grad_output.stride(),
      .x_outer_stride = arrays.x.stride(),
      .grad_x_outer_stride = arrays.grad_x().stride(),
      .grad_output = arrays.grad_output.data(),
      .x = arrays.x.data(),
      .mean = arrays.mean.data(),
      .inv_std = arrays.inv_std.data(),
      .weight = arrays.weight(),
      .grad_x = arrays.grad_x().data(),
      .grad_weight = arrays.grad_weight(),
      .grad_bias = arrays.grad_bias(),
      .stream = stream.handle(),
  });
  stream.finish();
  arrays.check(one, problem);
}

}  // namespace normdrop::driver::layer_norm
