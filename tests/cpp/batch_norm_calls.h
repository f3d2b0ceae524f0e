// One call of batch norm (training, inference or backward) and its checks. P is the type of the
// parameters.
#pragma once

#include "norm_arrays.h"

namespace normdrop::driver::batch_norm {

template <class T, class P = T>
struct Forward : ForwardProblem<T, BatchNormSlices, P> {
  using ForwardProblem<T, BatchNormSlices, P>::ForwardProblem;
};
template <class T, class P = T>
using Backward = BackwardProblem<T, BatchNormSlices, P>;

// The inference form at the statistics of the data, which are inputs here: a variance beyond the
// range of a double is infinite, one below it is 0.
template <class T, class P = T>
struct Inference : Forward<T, P> {
  Inference(const Shape& shape, Data data, bool has_weight, bool has_bias)
      : Forward<T, P>(shape, data, has_weight, has_bias),
        running_mean(this->mean.values),
        running_var(this->var.values) {
    for (std::int64_t c = 0; c < shape.middle; ++c) {
      const auto i = static_cast<std::size_t>(c);
      const double var = running_var[i];
      normalise(this->x, this->parameters.weight, this->parameters.bias, this->slices, c,
                {running_mean[i], var, 1.0 / std::sqrt(var + this->eps)}, &this->y.values);
    }
  }
  std::vector<double> running_mean;
  std::vector<double> running_var;
};

template <class T, class P>
void run(const Context& context, Memory& memory, Forward<T, P>& problem, const Variant& variant) {
  Case one("batch_norm_forward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const Placement placement(memory, variant);
  ForwardArrays<T, P> arrays(placement, problem, variant);
  Array<double> mean = placement.run<double>(4, shape.middle);
  Array<double> var = placement.run<double>(5, shape.middle);
  Array<double> inv_std = placement.run<double>(6, shape.middle);
  Stream stream(context, variant.threads);
  context.table.batch_norm_forward({
      .dtype = dtype_of<T>,
      .parameter_dtype = dtype_of<P>,
      .batch = shape.outer,
      .channels = shape.middle,
      .inner = shape.inner,
      .x_batch_stride = arrays.x.stride(),
      .y_batch_stride = arrays.y().stride(),
      .eps = problem.eps,
      .x = arrays.x.data(),
      .weight = arrays.weight(),
      .bias = arrays.bias(),
      .y = arrays.y().data(),
      .mean = mean.data(),
      .var = var.data(),
      .inv_std = inv_std.data(),
      .stream = stream.handle(),
  });
  stream.finish();
  arrays.check(one, problem);
  problem.mean.check(one, "mean", mean, tolerance<double>);
  problem.var.check(one, "var", var, tolerance<double>);
  problem.inv_std.check(one, "inv_std", inv_std, tolerance<double>);
}

template <class T, class P>
void run(const Context& context, Memory& memory, Inference<T, P>& problem, const Variant& variant) {
  Case one("batch_norm_inference %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  const Placement placement(memory, variant);
  ForwardArrays<T, P> arrays(placement, problem, variant);
  Array<double> mean = placement.run(4, problem.running_mean);
  Array<double> var = placement.run(5, problem.running_var);
  Stream stream(context, variant.threads);
  context.table.batch_norm_inference({
      .dtype = dtype_of<T>,
      .parameter_dtype = dtype_of<P>,
      .batch = shape.outer,
      .channels = shape.middle,
      .inner = shape.inner,
      .x_batch_stride = arrays.x.stride(),
      .y_batch_stride = arrays.y().stride(),
      .eps = problem.eps,
      .x = arrays.x.data(),
      .mean = mean.data(),
      .var = var.data(),
      .weight = arrays.weight(),
      .bias = arrays.bias(),
      .y = arrays.y().data(),
      .stream = stream.handle(),
  });
  stream.finish();
  arrays.check(one, problem);
  mean.check_unchanged(one, "mean", problem.running_mean);
  var.check_unchanged(one, "var", problem.running_var);
}

template <class T, class P>
void run(const Context& context, Memory& memory, Backward<T, P>& problem, const Variant& variant) {
  Case one("batch_norm_backward %s; %s", problem.text().c_str(), variant.text().c_str());
  const Shape& shape = problem.slices.shape;
  BackwardArrays<T, P> arrays(Placement(memory, variant), problem, variant);
  Stream stream(context, variant.threads);
  context.table.batch_norm_backward({
      .dtype = dtype_of<T>,
      .parameter_dtype = dtype_of<P>,
      .frozen = problem.frozen,
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
      .grad_x = arrays.grad_x().data(),
      .grad_weight = arrays.grad_weight(),
      .grad_bias = arrays.grad_bias(),
      .stream = stream.handle(),
  });
  stream.finish();
  arrays.check(one, problem);
}

}  // namespace normdrop::driver::batch_norm
