// Forward of weight norm (Salimans, Kingma 2016) of v (outer, kept, inner):
//   w = v * g / norm,   norm = sqrt(sum of v * v over outer and inner)
// inner > 1: an index of the kept axis is a set of runs (engines/channels.h); inner == 1: a column
//   (engines/columns.h). Squares are summed in double, and norm is a double.
#include "cpu/arithmetic/length.h"
#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

// The sets for engines/channels.h, with g as the weight of each.
template <class T>
struct Kept {
  WeightNormForward a;
  LengthOfSet statistic;
  LineOutput<T> output;
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;

  explicit Kept(const WeightNormForward& arguments)
      : a(arguments),
        statistic{0.0},
        output{static_cast<T*>(a.w),
               a.w_outer_stride,
               a.inner,
               static_cast<const wide<T>*>(a.g),
               nullptr,
               writing_of_lines(static_cast<T*>(a.w), a.inner, a.w_outer_stride,
                                a.outer * a.kept * a.inner)},
        sets(a.kept),
        runs(a.outer),
        length(a.inner) {}

  Runs<T> elements(std::int64_t set) const {
    return {static_cast<const T*>(a.v) + set * length, runs, length, a.v_outer_stride};
  }
  void report(std::int64_t set, const Normaliser& n) const {
    if (a.norm != nullptr) a.norm[set] = reported_length(n);
  }
  void write(std::int64_t set, const Part<T>& part, const Normaliser& n) const {
    write_lines<false>(part, n, output.at(set * length, set));
  }
};

template <class T>
void forward_columns(const WeightNormForward& a) {
  const Kept<T> kept(a);
  const Block<T> block{static_cast<const T*>(a.v), a.outer, a.kept, a.v_outer_stride};
  Scratch<SquareSum> squares(a.kept);
  column_parts_in_slots(block, squares.data());
  const ColumnOutput<T> output{static_cast<T*>(a.w), a.w_outer_stride,
                               static_cast<const wide<T>*>(a.g), nullptr};
  write_columns<false>(block, output, [&](std::int64_t c) {
    const Normaliser n = kept.statistic.finish(squares[c], kept.elements(c));
    kept.report(c, n);
    return n;
  });
}

template <class T>
void forward(const WeightNormForward& a) {
  if (a.outer == 0 || a.inner == 0) {
    for (std::int64_t k = 0; a.norm != nullptr && k < a.kept; ++k) a.norm[k] = 0.0;
    return;
  }
  if (a.kept == 0) return;
  a.inner == 1 && a.outer > 1 ? forward_columns<T>(a) : forward_sets<T>(Kept<T>(a));
}

}  // namespace

void weight_norm_forward(const WeightNormForward& arguments) {
  with_wide<&WeightNormForward::g>(arguments, arguments.kept, [](const WeightNormForward& a) {
    for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
