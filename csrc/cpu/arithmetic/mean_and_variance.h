// The statistic of a set as the engines take it: by value, with
//   part     of some runs, or of every column of a block
//   merge    parts of one set, in order
//   finish   what the normalising pass needs, from the parts of a whole set
#pragma once

#include "cpu/arithmetic/column_moments.h"
#include "cpu/arithmetic/column_squares.h"

namespace normdrop::NORMDROP_ISA {

// Found by the type of the parts, which may be declared behind this header.
template <class Part>
NORMDROP_INLINE Part merge_parts(const Part* parts, std::int64_t count, std::int64_t step) {
  return merge(parts, count, step);
}

template <class Partial>
struct SetStatistic {
  using Part = Partial;
  double eps;

  template <class T>
  NORMDROP_LAMBDA_INLINE Part part(const Runs<T>& in) const {
    return Part::template part<false>(in);
  }
  template <class T>
  static void columns(const Block<T>& in, double* scratch, Part* out) {
    column_parts(in, scratch, out);
  }
  static Part merge(const Part* parts, std::int64_t count, std::int64_t step = 1) {
    return merge_parts(parts, count, step);
  }
  template <class T>
  Normaliser finish(const Part& all, const Runs<T>& in) const {
    return NORMDROP_ISA::finish(all, in, eps);
  }
};

// Of the norms that subtract their mean.
using MeanAndVariance = SetStatistic<Moments>;

}  // namespace normdrop::NORMDROP_ISA
