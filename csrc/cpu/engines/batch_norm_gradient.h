// What the backward passes of batch norm share: channels as sets of one line each, and as columns.
#pragma once

#include "cpu/engines/channels_backward.h"
#include "cpu/engines/columns_backward.h"
#include "ops/batch_norm.h"

namespace normdrop::NORMDROP_ISA {

// `Report` takes (channel, sums of grad_output and grad_output * x_hat); `Known` gives the sums where
// those of this call are not what the means are of.
struct OwnSums {
  RowSums operator()(std::int64_t, const RowSums* sums) const { return sums[0]; }
};

template <class T, class Arguments, class Report, class Known = OwnSums>
struct ChannelGradients {
  Arguments a;
  Report report;
  Known known;
  MeanFactors mean_factors;
  Writing how;
  std::int64_t sets;
  std::int64_t sets_in_row;
  std::int64_t lines_per_set = 1;

  ChannelGradients(const Arguments& arguments, const MeanFactors& factors, Report report_sums,
                   Known known_sums = {})
      : a(arguments),
        report(report_sums),
        known(known_sums),
        mean_factors(factors),
        how(writing_of_lines(static_cast<T*>(a.grad_x), a.inner, a.grad_x_batch_stride,
                             a.batch * a.channels * a.inner)),
        sets(a.channels),
        sets_in_row(a.channels) {}

  Line<T> line(std::int64_t channel) const {
    const std::int64_t at = channel * a.inner;
    T* grad_x = static_cast<T*>(a.grad_x);
    return {static_cast<const T*>(a.grad_output) + at,
            static_cast<const T*>(a.x) + at,
            grad_x ? grad_x + at : nullptr,
            a.batch,
            a.inner,
            a.grad_output_batch_stride,
            a.x_batch_stride,
            a.grad_x_batch_stride,
            a.mean[channel],
            a.inv_std[channel]};
  }
  RowSums sums_of_set(std::int64_t channel, const RowSums* sums) const {
    return known(channel, sums);
  }
  LineFactors factors(std::int64_t channel) const {
    return {1.0, a.inv_std[channel] * parameter<T>(a.weight, channel, 1.0)};
  }
};

template <class T, class Arguments>
ColumnsGradient<T> columns_gradient(const Arguments& a, const MeanFactors& factors) {
  return {static_cast<const T*>(a.grad_output),
          static_cast<const T*>(a.x),
          static_cast<T*>(a.grad_x),
          a.batch,
          a.channels,
          a.grad_output_batch_stride,
          a.x_batch_stride,
          a.grad_x_batch_stride,
          a.mean,
          a.inv_std,
          static_cast<const wide<T>*>(a.weight),
          1,
          false,
          factors};
}

}  // namespace normdrop::NORMDROP_ISA
