// Forward of every norm in three steps: moments of chunks, statistics of sets, elements.
// Reads x twice and writes y once; what fits on chip has its own kernels.
#pragma once

#include "cuda/engines/column_pass.cuh"
#include "cuda/engines/elements.cuh"
#include "cuda/engines/scratch.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct ForwardArrays {
  const T* x;
  T* y;
  Parameter<T> weight;
  Parameter<T> bias;
  Measure measure;
  Statistics statistics;
  void* stream;
};

// Groups of runs within (outer, middle, inner), dense within an outer index.
struct RunsInArray {
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;
  IndexMap x_map;  // (set, run, element)
  DenseShape shape;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
  IndexMap normaliser_map;  // (outer, middle / middle_together, inner)
  IndexMap parameter_map;   // (outer, middle, inner)
  std::int64_t middle_together = 1;
};

// (outer, rows, columns) with a normaliser for each (outer, column / columns_together).
struct ColumnsInArray {
  std::int64_t outer;
  std::int64_t rows;
  std::int64_t columns;
  IndexMap x_map;
  IndexMap y_map;
  IndexMap parameter_map;
  std::int64_t columns_together = 1;
};

// Defined and instantiated in norm_forward.cu.
// Without a y, the statistics alone.
template <class T>
void forward_of_runs(const ForwardArrays<T>& a, const RunsInArray& in);
template <class T>
void forward_of_columns(const ForwardArrays<T>& a, const ColumnsInArray& in);

// The first two steps alone: a slot for each chunk of plan_runs, a normaliser for each set.
template <class T>
void normalisers_of_runs(const ForwardArrays<T>& a, const RunsInArray& in, Moments* slots,
                         Normaliser* normalisers);

// The last step alone, with normalisers at hand. `finite`: no normalised element is inf.
template <bool finite, class T>
void apply_to_runs(const ForwardArrays<T>& a, const RunsInArray& in, const Normaliser* normalisers);
template <bool finite, class T>
void apply_to_columns(const ForwardArrays<T>& a, const ColumnsInArray& in,
                      const Normaliser* normalisers);

}  // namespace normdrop::NORMDROP_DEVICE
