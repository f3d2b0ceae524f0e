// Backward of layer norm over rows that registers hold: one read of grad_output and x, one write of
// grad_x. A block goes down a slot of rows and keeps sums for its columns in registers; slots are
// merged by merge.cuh. Short rows share a block; long ones have a cluster of blocks, each with a
// part of the columns.
#pragma once

#include "cuda/clusters.cuh"
#include "cuda/layer_norm_rows.cuh"
#include "cuda/norm_backward.cuh"

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
  std::int64_t grad_output_stride;
  std::int64_t x_stride;
  std::int64_t grad_x_stride;
  std::int64_t rows_per_slot;
  std::int64_t parts;  // of a row: blocks of a cluster
  bool aligned;
  bool parameters_aligned;
  GradientSums<T>* slots;  // (slot, column), or null where no parameter gradient is wanted
};

// One row's elements of a thread.
template <class T, int unit>
struct GradientElementsOfRow {
  static constexpr int packs = backward_columns<T> / unit;
  Pack<T, unit> grad_output[packs];
  Pack<T, unit> x[packs];
  double mean;
  double inv_std;
};

// What a thread handles: columns from `first_column` on, packs `threads` packs apart; rows
// `groups` apart.
template <class T, int unit, int threads>
class RowsOfThread {
 public:
  static constexpr int columns = backward_columns<T>;
  static constexpr int packs = columns / unit;
  static constexpr int groups = row_block_threads<threads> / threads;
  using Elements = GradientElementsOfRow<T, unit>;

  __device__ RowsOfThread(const BackwardOfRows<T>& a, std::int64_t part) : a_(a) {
    first_column_ = part * threads * columns;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      valid_[k] = column(k) < a.length;
      if (valid_[k]) a.weight.load(column(k), 1, a.parameters_aligned, weight_[k]);
    }
  }

  __device__ std::int64_t column(int k) const {
    return first_column_ + (static_cast<int>(threadIdx.x) % threads + k * threads) * unit;
  }

  __device__ Elements load(std::int64_t row) const {
    Elements elements;
    elements.mean = a_.arrays.mean[row];
    elements.inv_std = a_.arrays.inv_std[row];
    const T* grad_output = a_.arrays.grad_output + row * a_.grad_output_stride;
    const T* x = a_.arrays.x + row * a_.x_stride;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      elements.grad_output[k] = valid_[k]
                                    ? load_pack<T, unit, true>(grad_output + column(k), a_.aligned)
                                    : zero_pack<T, unit>();
      elements.x[k] =
          valid_[k] ? load_pack<T, unit, true>(x + column(k), a_.aligned) : zero_pack<T, unit>();
    }
    return elements;
  }

  // Adds to the columns' sums; returns this thread's part of the row's.
  __device__ GradientSums<T> add(const Elements& elements) {
    GradientSums<T> row{};
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      if (!valid_[k]) continue;
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        const double grad = static_cast<double>(arithmetic(elements.grad_output[k].element[j]));
        const double x_hat = x_hat_of(elements, k, j);
        row.add(grad * static_cast<double>(weight_[k][j]), x_hat);
        if (a_.slots != nullptr) sums_[k * unit + j].add(grad, x_hat);
      }
    }
    return row;
  }

  __device__ void write(std::int64_t row, const Elements& elements,
                        const GradientSums<T>& sums) const {
    const double length = static_cast<double>(a_.length);
    const GradientLine line{elements.mean, elements.inv_std, sums.g.total().high / length,
                            sums.gx.total().high / length, elements.inv_std};
    T* grad_x = a_.arrays.grad_x + row * a_.grad_x_stride;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      if (!valid_[k]) continue;
      Pack<T, unit> result;
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        result.element[j] = gradient(elements.grad_output[k].element[j], elements.x[k].element[j],
                                     line, static_cast<double>(weight_[k][j]), false);
      }
      store_pack<T, unit>(grad_x + column(k), result, a_.aligned);
    }
  }

  // The block's groups of threads in order, to the block's slot.
  __device__ void deliver(std::int64_t slot, GradientSums<T>* shared) {
    GradientSums<T>* target = a_.slots + slot * a_.length;
#pragma unroll
    for (int k = 0; k < packs; ++k) {
#pragma unroll
      for (int j = 0; j < unit; ++j) {
        GradientSums<T> sum = sums_[k * unit + j];
        if constexpr (groups > 1) {
          if (k + j > 0) __syncthreads();
          shared[threadIdx.x] = sum;
          __syncthreads();
          for (int g = 1; threadIdx.x < threads && g < groups; ++g) {
            sum = combine(sum, shared[g * threads + static_cast<int>(threadIdx.x)]);
          }
        }
        if (threadIdx.x < threads && valid_[k]) target[column(k) + j] = sum;
      }
    }
  }

 private:
  __device__ double x_hat_of(const Elements& elements, int k, int j) const {
    const double x = static_cast<double>(arithmetic(elements.x[k].element[j]));
    return (x - elements.mean) * elements.inv_std;
  }

  const BackwardOfRows<T>& a_;
  std::int64_t first_column_;
  bool valid_[packs];
  Arithmetic<T> weight_[packs][unit];
  GradientSums<T> sums_[columns] = {};
};

template <class T, int unit, int threads>
__global__ void __launch_bounds__(row_block_threads<threads>)
    backward_of_rows(BackwardOfRows<T> a) {
  using Thread = RowsOfThread<T, unit, threads>;
  constexpr int block = row_block_threads<threads>;
  SHARED_ARRAY(GradientSums<T>, row_slots, 2 * slots_for<threads>);
  SHARED_ARRAY(GradientSums<T>, cluster_parts, 2);
  SHARED_ARRAY(GradientSums<T>, group_slots, Thread::groups > 1 ? block : 1);
  const std::int64_t slot = blockIdx.x / a.parts;
  const std::int64_t end =
      (slot + 1) * a.rows_per_slot < a.rows ? (slot + 1) * a.rows_per_slot : a.rows;
  const auto both = [](const GradientSums<T>& u, const GradientSums<T>& v) {
    return combine(u, v);
  };
  Thread thread(a, blockIdx.x % a.parts);
  std::int64_t row = slot * a.rows_per_slot + static_cast<int>(threadIdx.x) / threads;
  // Slots of two rows take turns, so that one barrier a row is enough.
  int turn = 0;
  typename Thread::Elements next{};
  if (row < end) next = thread.load(row);
  for (; row < end; row += Thread::groups) {
    const typename Thread::Elements elements = next;
    if (row + Thread::groups < end) next = thread.load(row + Thread::groups);
    GradientSums<T> sums =
        reduce<threads>(thread.add(elements), row_slots + turn * slots_for<threads>, both);
    if (a.parts > 1) sums = over_cluster(sums, cluster_parts + turn, GradientSums<T>{}, both);
    thread.write(row, elements, sums);
    turn = 1 - turn;
  }
  if (a.slots != nullptr) thread.deliver(slot, group_slots);
  if (a.parts > 1) cluster_sync();  // no block may end while another still reads its part
}

// Calls body with the number of threads that hold a row, or a cluster's part of one.
template <class T, class Body>
void for_threads_of_backward_row(std::int64_t length, Body&& body) {
  constexpr std::int64_t each = backward_columns<T>;
  if (length <= 8 * each) return body(Number<8>{});
  if (length <= 32 * each) return body(Number<32>{});
  if (length <= 128 * each) return body(Number<128>{});
  if (length <= 256 * each) return body(Number<256>{});
  body(Number<backward_block>{});
}

template <class T>
std::int64_t backward_parts(std::int64_t length) {
  return divided_up(length, backward_block * backward_columns<T>);
}

template <class T>
bool backward_row_fits_on_chip(std::int64_t length) {
  const std::int64_t parts = backward_parts<T>(length);
  const DeviceLimits& limits = device_limits();
  return parts <= 1 ||
         (limits.clusters && parts <= limits.largest_cluster && parts <= largest_cluster);
}

// Rows of a slot: from the shape alone.
inline std::int64_t backward_rows_per_slot(std::int64_t rows, std::int64_t groups,
                                           std::int64_t block) {
  const std::int64_t few = divided_up(rows, groups) < cuda_tuning::backward_fewest_slots
                               ? divided_up(rows, groups)
                               : cuda_tuning::backward_fewest_slots;
  const std::int64_t wanted = rows / cuda_tuning::backward_rows_per_slot;
  const std::int64_t most = cuda_tuning::backward_most_threads / block;
  const std::int64_t slots = wanted < few ? few : wanted > most ? most : wanted;
  return divided_up(divided_up(rows, slots), groups) * groups;
}

// Returns where the slots are, for merge_sums; `arguments.slots` is set where they are wanted.
template <class T>
SlotLayout backward_of_rows_on_chip(BackwardOfRows<T> arguments, bool parameters,
                                    GradientSums<T>** slots) {
  SlotLayout layout{};
  for_unit<T>(arguments.length, [&](auto unit) {
    const BackwardArrays<T>& arrays = arguments.arrays;
    arguments.aligned =
        packs_lie_aligned<T>(arrays.grad_output, arguments.grad_output_stride, unit.is) &&
        packs_lie_aligned<T>(arrays.x, arguments.x_stride, unit.is) &&
        packs_lie_aligned<T>(arrays.grad_x, arguments.grad_x_stride, unit.is);
    arguments.parameters_aligned = packs_lie_aligned<T>(arguments.weight.values, 0, unit.is);
    for_threads_of_backward_row<T>(arguments.length, [&](auto threads) {
      constexpr int block = row_block_threads<threads.is>;
      arguments.rows_per_slot = backward_rows_per_slot(arguments.rows, block / threads.is, block);
      const std::int64_t count = divided_up(arguments.rows, arguments.rows_per_slot);
      arguments.parts = backward_parts<T>(arguments.length);
      if (parameters) {
        *slots = scratch<GradientSums<T>>(arrays.stream, count * arguments.length);
        arguments.slots = *slots;
      }
      LaunchDims dims = grid_of(count * arguments.parts, block);
      dims.cluster = static_cast<unsigned>(arguments.parts);
      launch("backward_of_rows", backward_of_rows<T, unit.is, threads.is>, dims, arrays.stream,
             arguments);
      layout = {arguments.length, count, 1, arguments.length};
    });
  });
  return layout;
}

}  // namespace normdrop::NORMDROP_DEVICE
