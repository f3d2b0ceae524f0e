// Backward of norms over rows that registers hold:
//   grad_x = ((g - mean_g) - x^ * mean_g_x_hat) * inv_std + addend,   g = grad_output * weight
// One read of grad_output and x, one write of grad_x. A block goes down a slot of rows and keeps
// sums for its columns in registers; slots are merged by slots.cuh. Short rows share a block; long
// ones have a cluster of blocks, each with a part of the columns.
#pragma once

#include "cuda/engines/clusters.cuh"
#include "cuda/engines/norm_backward.cuh"
#include "cuda/engines/rows.cuh"

namespace normdrop::NORMDROP_DEVICE {

using cuda_tuning::backward_block;

template <class T>
inline constexpr int backward_columns =
    sizeof(T) == 8 ? cuda_tuning::backward_columns_per_thread / 2
                   : cuda_tuning::backward_columns_per_thread;

template <class T>
struct BackwardOfRows {
  BackwardArrays<T> arrays;
  Parameter<T> weight;
  std::int64_t rows;
  std::int64_t length;
  MeanFactors mean_factors;
  std::int64_t grad_output_stride;
  std::int64_t x_stride;
  std::int64_t grad_x_stride;
  const T* addend;  // another gradient of x, or null
  std::int64_t addend_stride;
  std::int64_t rows_per_slot;
  std::int64_t parts;  // of a row: blocks of a cluster
  bool parameters_aligned;
  GradientSums<T>* slots;  // (slot, column), or null where no parameter gradient is wanted
};

// One row's elements of a thread, asked for while the row before is worked on.
template <class Asked, int packs>
struct AskedRow {
  Asked grad_output[packs];
  Asked x[packs];
  double mean;
  double inv_std;
};

template <class T>
struct GradientElementsOfRow {
  static constexpr int unit = vector_elements<T>;
  static constexpr int packs = backward_columns<T> / unit;
  Pack<T, unit> grad_output[packs];
  Pack<T, unit> x[packs];
  double mean;
  double inv_std;
};

// What a thread handles: columns from `first_column` on, packs `threads` packs apart; rows
// `teams` apart. `aligned`: all packs are whole vectors on their boundaries. Arithmetic is in
// double, of half types in float where their numbers allow it.
template <class T, bool aligned, int threads>
class RowsOfThread {
 public:
  static constexpr int unit = vector_elements<T>;
  static constexpr int columns = backward_columns<T>;
  static constexpr int packs = columns / unit;
  using Packs = PacksOfLine<unit, threads>;
  static constexpr int teams = row_block_threads<threads> / threads;
  static constexpr bool is_half = sizeof(T) == 2;
  using Elements = GradientElementsOfRow<T>;
  using Asked = AskedRow<AskedPack<T, unit, aligned, Packs::lanes, true>, packs>;

  __device__ RowsOfThread(const BackwardOfRows<T>& a, std::int64_t part)
      : a_(a), first_column_(part * threads * columns) {
    const std::int64_t left = a.length - first_column_;
    length_ = static_cast<int>(left < threads * columns ? left : threads * columns);
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      const int count = length_ - Packs::offset(k);
      a.weight.load(first_column_ + Packs::offset(k), !aligned || count <= 0 ? count : unit, 1,
                    a.parameters_aligned, weight_[k]);
    }
  }

  __device__ Asked ask(std::int64_t row) const {
    Asked asked;
    asked.mean = a_.arrays.statistics.mean_at(row);
    asked.inv_std = a_.arrays.statistics.inv_std_at(row);
    const T* grad_output = a_.arrays.grad_output + row * a_.grad_output_stride + first_column_;
    const T* x = a_.arrays.x + row * a_.x_stride + first_column_;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      const PackPlace place = Packs::place(k, length_);
      asked.grad_output[k].ask(grad_output + Packs::offset(k), place);
      asked.x[k].ask(x + Packs::offset(k), place);
    }
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      const PackPlace place = Packs::place(k, length_);
      asked.grad_output[k].ask_parts(grad_output + Packs::offset(k), place);
      asked.x[k].ask_parts(x + Packs::offset(k), place);
    }
    return asked;
  }

  __device__ Elements take(const Asked& asked) const {
    Elements elements;
    elements.mean = asked.mean;
    elements.inv_std = asked.inv_std;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      elements.grad_output[k] = asked.grad_output[k].take();
      elements.x[k] = asked.x[k].take();
    }
    return elements;
  }

  // This thread's part of the row's sums.
  __device__ GradientSums<T> row_sums(const Elements& elements) const {
    GradientSums<T> sums{};
    for_each([&](int k, int j) {
      const double grad = static_cast<double>(widened(elements.grad_output[k][j]));
      sums.add(grad * static_cast<double>(weight_[k][j]), x_hat_of(elements, k, j));
    });
    return sums;
  }

  __device__ SingleRowSums single_row_sums(const Elements& elements,
                                           const SingleNormaliser& n) const {
    SingleRowSums sums{};
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      float g = 0.0f;
      float gx = 0.0f;
      float largest = 0.0f;
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        if (!holds(k, j)) continue;
        const float term = widened(elements.grad_output[k][j]) * weight_[k][j];
        g += term;
        gx = fmaf(term, x_hat_of(elements, k, j, n), gx);
        largest = fmaxf(largest, fabsf(term));
      }
      sums = combine(sums, SingleRowSums{g, gx, largest});
    }
    return sums;
  }

  // Writes the row's grad_x and adds to the columns' sums.
  __device__ void write(std::int64_t row, const Elements& elements, const GradientSums<T>& sums) {
    const double mean_g = sums.grad.total().high * a_.mean_factors.grad;
    const double mean_g_x_hat = sums.grad_x_hat.total().high * a_.mean_factors.grad_x_hat;
    write_row(row, [&](int k, int j) {
      const double grad = static_cast<double>(widened(elements.grad_output[k][j]));
      const double x_hat = x_hat_of(elements, k, j);
      if (a_.slots != nullptr) sums_[k * unit + j].add(grad, x_hat);
      const double g = grad * static_cast<double>(weight_[k][j]);
      return ((g - mean_g) - x_hat * mean_g_x_hat) * elements.inv_std;
    });
  }

  __device__ void write_in_single(std::int64_t row, const Elements& elements,
                                  const SingleNormaliser& n, const SingleRowSums& sums) {
    const float mean_g = rounded<float>(sums.grad * a_.mean_factors.grad);
    const float mean_g_x_hat = rounded<float>(sums.grad_x_hat * a_.mean_factors.grad_x_hat);
    write_row(row, [&](int k, int j) {
      const float grad = widened(elements.grad_output[k][j]);
      const float x_hat = x_hat_of(elements, k, j, n);
      if (a_.slots != nullptr) sums_[k * unit + j].add(grad, x_hat);
      const float g = grad * weight_[k][j];
      return ((g - mean_g) - x_hat * mean_g_x_hat) * n.inv_std_high;
    });
  }

  // The block's teams of threads in order, to the block's slot.
  __device__ void deliver(std::int64_t slot, GradientSums<T>* shared) const {
    GradientSums<T>* target = a_.slots + slot * a_.length;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        GradientSums<T> sum = total(k * unit + j);
        if constexpr (teams > 1) {
          if (k + j > 0) __syncthreads();
          shared[threadIdx.x] = sum;
          __syncthreads();
          for (int team = 1; threadIdx.x < threads && team < teams; ++team) {
            sum = combine(sum, shared[team * threads + static_cast<int>(threadIdx.x)]);
          }
        }
        if (threadIdx.x < threads && holds(k, j))
          target[first_column_ + Packs::offset(k) + j] = sum;
      }
    }
  }

 private:
  __device__ __forceinline__ bool holds(int k, int j) const {
    return Packs::offset(k) + (aligned ? 0 : j) < length_;
  }

  template <class Body>
  __device__ __forceinline__ void for_each(Body&& body) const {
#pragma unroll
    for (int k = 0; k < packs; ++k) {
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        if (holds(k, j)) body(k, j);
      }
    }
  }

  template <class Element>
  __device__ __forceinline__ void write_row(std::int64_t row, Element&& element) const {
    T* grad_x = a_.arrays.grad_x + row * a_.grad_x_stride + first_column_;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      if (Packs::empty(k, length_)) continue;
      const PackPlace place = Packs::place(k, length_);
      auto result = zero_pack<T, unit>();
      if (a_.addend != nullptr) {
        const T* addend = a_.addend + row * a_.addend_stride + first_column_;
        result = load_pack<T, unit, aligned, Packs::lanes, true>(addend + Packs::offset(k), place);
      }
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        const auto value = element(k, j);
        const bool more = a_.addend != nullptr;
        result.set(j, rounded<T>(more ? value + widened(result[j]) : value));
      }
      store_pack<T, unit, aligned, Packs::lanes>(grad_x + Packs::offset(k), result, place);
    }
  }

  __device__ __forceinline__ double x_hat_of(const Elements& elements, int k, int j) const {
    const double x = static_cast<double>(widened(elements.x[k][j]));
    return (x - elements.mean) * elements.inv_std;
  }

  __device__ __forceinline__ float x_hat_of(const Elements& elements, int k, int j,
                                            const SingleNormaliser& n) const {
    return fmaf(widened(elements.x[k][j]) - n.centre, n.inv_std_high, n.offset);
  }

  __device__ __forceinline__ GradientSums<T> total(int column) const {
    if constexpr (is_half) {
      return sums_[column].template total<T>();
    } else {
      return sums_[column].total();
    }
  }

  const BackwardOfRows<T>& a_;
  const std::int64_t first_column_;
  int length_;  // of the columns from there on, at most the block's
  wide<T> weight_[packs][unit];
  std::conditional_t<is_half, HalfColumnSums, ColumnSums<T>> sums_[columns] = {};
};

// A sum over all threads of a row, in its block or cluster.
template <int threads, class Value>
__device__ __forceinline__ Value over_row(Value value, Value* slots, Value* part,
                                          std::int64_t parts) {
  value = reduce<threads>(value, slots);
  return parts > 1 ? over_cluster(value, part, static_cast<int>(parts)) : value;
}

template <class T, bool aligned, int threads>
__global__ void __launch_bounds__(row_block_threads<threads>,
                                  cuda_tuning::backward_threads_resident /
                                      row_block_threads<threads>)
    backward_of_rows(BackwardOfRows<T> a) {
  using Thread = RowsOfThread<T, aligned, threads>;
  constexpr int block = row_block_threads<threads>;
  constexpr int slots = slots_for<threads>;
  SHARED_ARRAY(GradientSums<T>, row_slots, 2 * slots);
  SHARED_ARRAY(GradientSums<T>, row_parts, 2);
  SHARED_ARRAY(SingleRowSums, single_slots, 2 * slots);
  SHARED_ARRAY(SingleRowSums, single_parts, 2);
  SHARED_ARRAY(GradientSums<T>, team_slots, Thread::teams > 1 ? block : 1);
  const std::int64_t slot = blockIdx.x / a.parts;
  const std::int64_t slot_end = (slot + 1) * a.rows_per_slot;
  const std::int64_t end = slot_end < a.rows ? slot_end : a.rows;
  Thread thread(a, blockIdx.x % a.parts);
  std::int64_t row = slot * a.rows_per_slot + static_cast<int>(threadIdx.x) / threads;
  // Slots of two rows take turns, so that one barrier a row is enough.
  int turn = 0;
  // Where a row takes two words for each pack, there are no registers for the next row.
  constexpr bool ahead = aligned;
  typename Thread::Asked next{};
  if (ahead && row < end) next = thread.ask(row);
  for (; row < end; row += Thread::teams) {
    if (!ahead) next = thread.ask(row);
    const typename Thread::Elements elements = thread.take(next);
    if (ahead && row + Thread::teams < end) next = thread.ask(row + Thread::teams);
    turn = 1 - turn;
    if constexpr (Thread::is_half) {
      const SingleNormaliser n = single_normaliser({elements.mean, 0.0}, elements.inv_std);
      if (n.usable) {
        const SingleRowSums sums =
            over_row<threads>(thread.single_row_sums(elements, n), single_slots + turn * slots,
                              single_parts + turn, a.parts);
        if (sums.usable()) {
          thread.write_in_single(row, elements, n, sums);
          continue;
        }
      }
    }
    thread.write(row, elements,
                 over_row<threads>(thread.row_sums(elements), row_slots + turn * slots,
                                   row_parts + turn, a.parts));
  }
  if (a.slots != nullptr) thread.deliver(slot, team_slots);
  if (a.parts > 1) cluster_sync();  // no block may end while another still reads its part
}

}  // namespace normdrop::NORMDROP_DEVICE
