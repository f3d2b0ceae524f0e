// Backward of weight norm, of v (outer, kept, inner):
//   grad_g = sum(grad_w * v) / norm,   grad_v = g / norm * (grad_w - v / norm * grad_g)
// That is the gradient of a set whose x_hat is v / norm, with grad_g in the place of the mean of
// grad_output * x_hat. Passes as in the backward of batch norm: engines/channels_backward.h, and
// columns_backward.h where inner == 1.
#include "cpu/engines/channels_backward.h"
#include "cpu/engines/columns_backward.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

constexpr MeanFactors mean_factors{0.0, 1.0};

// Indices of the kept axis as sets of one line each.
template <class T>
struct KeptGradients {
  WeightNormBackward a;
  const double* reciprocals;  // 1 / norm
  std::int64_t sets;
  std::int64_t sets_in_row;
  std::int64_t lines_per_set = 1;
  MeanFactors mean_factors = NORMDROP_ISA::mean_factors;
  Writing how;

  KeptGradients(const WeightNormBackward& arguments, const double* reciprocals_of_norms)
      : a(arguments),
        reciprocals(reciprocals_of_norms),
        sets(a.kept),
        sets_in_row(a.kept),
        how(writing_of_lines(static_cast<T*>(a.grad_v), a.inner, a.grad_v_outer_stride,
                             a.outer * a.kept * a.inner)) {}

  Line<T> line(std::int64_t k) const {
    const std::int64_t at = k * a.inner;
    return {static_cast<const T*>(a.grad_w) + at,
            static_cast<const T*>(a.v) + at,
            static_cast<T*>(a.grad_v) + at,
            a.outer,
            a.inner,
            a.grad_w_outer_stride,
            a.v_outer_stride,
            a.grad_v_outer_stride,
            0.0,
            reciprocals[k]};
  }
  RowSums sums_of_set(std::int64_t, const RowSums* sums) const { return sums[0]; }
  LineFactors factors(std::int64_t k) const {
    return {1.0, reciprocals[k] * parameter<T>(a.g, k, 1.0)};
  }
  void report(std::int64_t k, const RowSums& sum) const {
    static_cast<wide<T>*>(a.grad_g)[k] = static_cast<wide<T>>(sum.gx);
  }
};

template <class T>
void backward(const WeightNormBackward& a) {
  if (a.outer == 0 || a.kept == 0 || a.inner == 0) {
    return fill_zero(static_cast<wide<T>*>(a.grad_g), a.kept);
  }
  Scratch<double> reciprocals(a.kept);
  for (std::int64_t k = 0; k < a.kept; ++k) reciprocals[k] = 1.0 / a.norm[k];
  const KeptGradients<T> gradients(a, reciprocals.data());
  if (a.inner > 1 || a.outer == 1) {
    return ChannelsBackward<T, KeptGradients<T>>(gradients).run();
  }
  Scratch<double> zeros(a.kept);
  fill_zero(zeros.data(), a.kept);
  ColumnsBackward<T>({static_cast<const T*>(a.grad_w), static_cast<const T*>(a.v),
                      static_cast<T*>(a.grad_v), a.outer, a.kept, a.grad_w_outer_stride,
                      a.v_outer_stride, a.grad_v_outer_stride, zeros.data(), reciprocals.data(),
                      static_cast<const wide<T>*>(a.g), 1, false, mean_factors})
      .run([&](std::int64_t k, const RowSums& sum) { gradients.report(k, sum); });
}

}  // namespace

void weight_norm_backward(const WeightNormBackward& arguments) {
  using A = WeightNormBackward;
  with_wide_gradient<&A::grad_g>(arguments, arguments.parameter_dtype, arguments.kept,
                                 [](const A& with_gradient) {
    with_wide<&A::g>(with_gradient, with_gradient.kept, [](const A& a) {
      for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
