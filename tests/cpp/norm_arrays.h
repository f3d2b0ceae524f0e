// The arrays that every form of a norm takes, placed as a variant asks, and their checks.
#pragma once

#include "norm_problems.h"
#include "variants.h"

namespace normdrop::driver {

// Where the arguments of one call lie, each by its number; 0 is the output.
class Placement {
 public:
  Placement(Memory& memory, const Variant& variant) : memory_(memory), variant_(variant) {}

  template <class T>
  Array<T> rows(int which, const Shape& shape) const {
    return {memory_.of_argument(which), place<T>(which), shape.outer, shape.row_length(),
            variant_.layout.of_argument(which)};
  }
  // An input; in place it is spaced as the output that it becomes.
  template <class T>
  Array<T> rows(int which, const Shape& shape, const std::vector<T>& values) const {
    const int layout_of = variant_.in_place && which == 1 ? 0 : which;
    return {memory_.of_argument(which),
            place<T>(which),
            shape.outer,
            shape.row_length(),
            variant_.layout.of_argument(layout_of),
            values};
  }
  template <class T>
  Array<T> run(int which, std::int64_t length) const {
    return {memory_.of_argument(which), place<T>(which), length};
  }
  template <class T>
  Array<T> run(int which, const std::vector<T>& values) const {
    return {memory_.of_argument(which), place<T>(which), values};
  }

 private:
  template <class T>
  Place place(int which) const {
    return variant_.place.of_argument(which, sizeof(T));
  }
  Memory& memory_;
  const Variant& variant_;
};

// Arguments 0 to 3 of a forward pass; statistics come after them.
template <class T, class P = T>
struct ForwardArrays {
  Array<T> apart;
  Array<T> x;
  Array<P> weight_values;
  Array<P> bias_values;
  const Variant& variant;
  const Parameters<P>& parameters;

  template <class Problem>
  ForwardArrays(const Placement& placement, const Problem& problem, const Variant& v)
      : apart(placement.rows<T>(0, problem.slices.shape)),
        x(placement.rows(1, problem.slices.shape, problem.x)),
        weight_values(placement.run(2, problem.parameters.weight)),
        bias_values(placement.run(3, problem.parameters.bias)),
        variant(v),
        parameters(problem.parameters) {}

  Array<T>& y() { return variant.in_place ? x : apart; }
  const P* weight() const { return parameters.has_weight() ? weight_values.data() : nullptr; }
  const P* bias() const { return parameters.has_bias() ? bias_values.data() : nullptr; }

  template <class Problem>
  void check(Case& one, Problem& problem) {
    problem.y.check(one, "y", y(), tolerance<T>);
    if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
    weight_values.check_unchanged(one, "weight", parameters.weight);
    bias_values.check_unchanged(one, "bias", parameters.bias);
  }
};

// All arguments of a backward pass. Its optional outputs are grad_weight and grad_bias.
template <class T, class P = T>
struct BackwardArrays {
  Array<T> apart;
  Array<T> grad_output;
  Array<T> x;
  Array<P> weight_values;
  Array<double> mean;
  Array<double> inv_std;
  Array<P> grad_weight_values;
  Array<P> grad_bias_values;
  const Variant& variant;
  const Parameters<P>& parameters;

  template <class Problem>
  BackwardArrays(const Placement& placement, const Problem& problem, const Variant& v)
      : apart(placement.rows<T>(0, problem.slices.shape)),
        grad_output(placement.rows(1, problem.slices.shape, problem.grad_output)),
        x(placement.rows(2, problem.slices.shape, problem.x)),
        weight_values(placement.run(3, problem.parameters.weight)),
        mean(placement.run(4, problem.mean)),
        inv_std(placement.run(5, problem.inv_std)),
        grad_weight_values(placement.run<P>(6, problem.slices.shape.middle)),
        grad_bias_values(placement.run<P>(7, problem.slices.shape.middle)),
        variant(v),
        parameters(problem.parameters) {}

  Array<T>& grad_x() { return variant.in_place ? grad_output : apart; }
  const P* weight() const { return parameters.has_weight() ? weight_values.data() : nullptr; }
  P* grad_weight() const { return variant.wants(0) ? grad_weight_values.data() : nullptr; }
  P* grad_bias() const { return variant.wants(1) ? grad_bias_values.data() : nullptr; }

  template <class Problem>
  void check(Case& one, Problem& problem) {
    problem.grad_x.check(one, "grad_x", grad_x(), tolerance<T>);
    if (!variant.in_place) grad_output.check_unchanged(one, "grad_output", problem.grad_output);
    x.check_unchanged(one, "x", problem.x);
    weight_values.check_unchanged(one, "weight", parameters.weight);
    mean.check_unchanged(one, "mean", problem.mean);
    inv_std.check_unchanged(one, "inv_std", problem.inv_std);
    if (variant.wants(0)) {
      problem.grad_weight.check(one, "grad_weight", grad_weight_values, tolerance<P>);
    }
    if (variant.wants(1)) {
      problem.grad_bias.check(one, "grad_bias", grad_bias_values, tolerance<P>);
    }
  }
};

}  // namespace normdrop::driver
