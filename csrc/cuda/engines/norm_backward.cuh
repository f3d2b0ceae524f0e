// Backward of every norm: sums of g and g * x^ over sets, then elements. Reads grad_output and x
// twice and writes grad_x once; what fits on chip has its own kernels.
#pragma once

#include "cuda/engines/norm_forward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct BackwardArrays {
  const T* grad_output;
  const T* x;
  SetStatistics statistics;
  T* grad_x;
  void* stream;
  const T* addend = nullptr;  // another gradient of x, or null
};

// Where the elements of one reduction lie, as (set, run, element) or (outer, row, column).
template <class T>
struct ReductionMaps {
  IndexMap grad_output;
  IndexMap x;
  IndexMap statistic;
  Parameter<T> weight;
  IndexMap weight_map;
  bool rectified = false;  // only elements count whose x is not above 0
};

template <class T>
struct GradientWrite {
  const GradientLine* lines;
  Parameter<T> weight;  // of elements; where a set has one weight it is in the line
  bool constants;
  IndexMap addend_map;  // (outer, middle, inner) or (outer, row, column)
};

// Defined and instantiated in norm_backward.cu.
template <class T>
void sums_of_runs(const BackwardArrays<T>& a, const ReductionMaps<T>& maps, const RunPlan& plan,
                  GradientSums<T>* slots);
template <class T>
void sums_of_columns(const BackwardArrays<T>& a, const ReductionMaps<T>& maps, std::int64_t outer,
                     std::int64_t rows, std::int64_t columns, GradientSums<T>* slots);
template <class T>
void merge_sums(const GradientMerge<T>& arguments, void* stream);

template <class T>
void write_elements(const BackwardArrays<T>& a, const GradientWrite<T>& write,
                    const DenseShape& shape, std::int64_t grad_output_stride, std::int64_t x_stride,
                    std::int64_t grad_x_stride, const IndexMap& line_map,
                    const IndexMap& parameter_map);
template <class T>
void write_columns(const BackwardArrays<T>& a, const GradientWrite<T>& write, std::int64_t outer,
                   std::int64_t rows, std::int64_t columns, const ReductionMaps<T>& maps,
                   const IndexMap& grad_x_map);

}  // namespace normdrop::NORMDROP_DEVICE
