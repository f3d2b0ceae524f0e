// Reductions over the rows of (outer, rows, columns) for every column: batch norm of 2-D and
// channels-last data, layer norm over an axis that is not the last, parameter gradients of rows.
// A block is 32 lanes of neighbouring columns by some rows. Rows are cut into slots by the shape
// alone; a thread keeps a few rows of its columns in registers for two passes over them.
#pragma once

#include "cuda/engines/runs.cuh"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int column_lanes = warp_threads;
inline constexpr int column_block_rows = cuda_tuning::column_block_rows;
inline constexpr int column_threads = column_lanes * column_block_rows;
inline constexpr int column_blocks_resident = cuda_tuning::column_threads_resident / column_threads;

struct ColumnPlan {
  std::int64_t outer;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t tiles;  // blocks beside each other over the columns
  std::int64_t rows_per_slot;
  std::int64_t slots;

  __host__ __device__ std::int64_t blocks() const { return outer * tiles * slots; }
  __host__ __device__ std::int64_t sets() const { return outer * columns; }
};

inline ColumnPlan plan_columns(std::int64_t outer, std::int64_t rows, std::int64_t columns,
                               int unit) {
  const std::int64_t wanted = divided_up(rows, cuda_tuning::column_rows_per_slot);
  const std::int64_t most = cuda_tuning::column_slots;
  const std::int64_t per_slot =
      wanted > most ? divided_up(rows, most) : cuda_tuning::column_rows_per_slot;
  return {outer,    rows,
          columns,  divided_up(columns, column_lanes * unit),
          per_slot, divided_up(rows, per_slot)};
}

// What a thread of this block handles: `unit` columns from `column` on, every column_block_rows-th
// row of the slot.
struct ColumnPlace {
  std::int64_t outer;
  std::int64_t slot;
  std::int64_t column;
  std::int64_t first_row;
  std::int64_t end_row;
  int lane;
  int block_row;

  __device__ ColumnPlace(const ColumnPlan& plan, int unit) {
    lane = lane_in_warp();
    block_row = warp_in_block();
    const std::int64_t tile = blockIdx.x % plan.tiles;
    slot = blockIdx.x / plan.tiles % plan.slots;
    outer = blockIdx.x / plan.tiles / plan.slots;
    column = (tile * column_lanes + lane) * unit;
    const std::int64_t begin = slot * plan.rows_per_slot;
    end_row = plan.rows - begin < plan.rows_per_slot ? plan.rows : begin + plan.rows_per_slot;
    first_row = begin + block_row;
  }

  // Of this thread's columns in a row.
  template <int unit>
  __device__ PackPlace pack(const ColumnPlan& plan, std::int64_t row) const {
    return place_in_warp<unit>(column, row < end_row ? plan.columns : 0);
  }

  // This thread's columns of several of its rows, from `row` on; zeros behind the slot's end.
  template <bool aligned, class T, int unit, int rows>
  __device__ __forceinline__ void load(const T* from, const IndexMap& map, const ColumnPlan& plan,
                                       std::int64_t row, Pack<T, unit> (&out)[rows]) const {
    const auto row_of = [&](int k) { return row + k * column_block_rows; };
    load_packs<aligned, warp_threads, false>(out, [&](int k) {
      return from + map.at(outer, row_of(k), column);
    }, [&](int k) { return pack<unit>(plan, row_of(k)); });
  }
};

// Rows that a thread reads before it uses the first of them.
inline constexpr int rows_at_once = cuda_tuning::column_rows_at_once;
inline constexpr int rows_together = rows_at_once * column_block_rows;

// Mean and squares of `rows` values of one column in registers.
template <class T, int rows, int unit>
__device__ __forceinline__ Moments moments_in_registers(const Pack<T, unit> (&pack)[rows], int j,
                                                        int count, EitherStatistic statistic) {
  double scale = 1.0;
  if constexpr (sizeof(T) == 8) {
    double largest = 0.0;
#pragma unroll
    for (int k = 0; k < rows; ++k) {
      if (k < count) largest = fmax(largest, fabs(pack[k][j]));
    }
    scale = scale_for<T>(largest);
  }
  double_double total{0.0, 0.0};
  double_double mean{0.0, 0.0};
  if (statistic.centred()) {
    running_sums<T> sum{};
#pragma unroll
    for (int k = 0; k < rows; ++k) {
      if (k < count) sum.add_term(static_cast<double>(widened(pack[k][j])) * scale);
    }
    total = sum.total();
    mean = Divisor(count).quotient(total);
  }
  running_sums<T> squares{};
#pragma unroll
  for (int k = 0; k < rows; ++k) {
    const double value = static_cast<double>(widened(pack[k][j])) * scale;
    double deviation = value - mean.high;
    if constexpr (sizeof(T) == 8) deviation -= mean.low;
    if (k < count) squares.add_square(deviation);
  }
  return {static_cast<double>(count), total, squares.total().high, scale};
}

// A thread's values of its columns over the block's rows in order: complete in the first warp.
template <int unit, class Value>
__device__ __forceinline__ void combine_block_rows(Value (&value)[unit], Value* shared) {
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j > 0) __syncthreads();
    shared[threadIdx.x] = value[j];
    __syncthreads();
    for (int row = 1; warp_in_block() == 0 && row < column_block_rows; ++row) {
      value[j] = combine(value[j], shared[row * column_lanes + lane_in_warp()]);
    }
  }
}

// slots[slot * sets + outer * columns + column]
template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(column_threads, column_blocks_resident)
    column_moments(const T* x, IndexMap x_map, ColumnPlan plan, EitherStatistic statistic,
                   Moments* slots) {
  constexpr int rows = cuda_tuning::column_rows_in_registers;
  SHARED_ARRAY(Moments, shared, column_threads);
  const ColumnPlace place(plan, unit);
  Moments moments[unit];
#pragma unroll
  for (int j = 0; j < unit; ++j) moments[j] = no_moments();
  double so_far = 0.0;
  for (std::int64_t row = place.first_row; row < place.end_row; row += rows * column_block_rows) {
    Pack<T, unit> pack[rows];
    place.load<aligned>(x, x_map, plan, row, pack);
    const std::int64_t left = (place.end_row - row + column_block_rows - 1) / column_block_rows;
    const int count = left < rows ? static_cast<int>(left) : rows;
    so_far += count;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      moments[j] = combine(moments[j], moments_in_registers<T>(pack, j, count, statistic));
      // The same for all columns, so that they share registers.
      moments[j].count = so_far;
      if constexpr (sizeof(T) < 8) moments[j].scale = 1.0;
    }
  }
  combine_block_rows(moments, shared);
  if (place.column >= plan.columns || place.block_row != 0) return;
  Moments* slot = slots + place.slot * plan.sets() + place.outer * plan.columns + place.column;
  for (int j = 0; j < unit; ++j) slot[j] = moments[j];
}

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(column_threads, column_blocks_resident)
    column_gradients(SumGradients<T, ColumnPlan> a) {
  SHARED_ARRAY(GradientSums<T>, shared, column_threads);
  const ColumnPlace place(a.plan, unit);
  GradientSums<T> sums[unit];
  for (int j = 0; j < unit; ++j) sums[j] = {};
  const bool has_columns = place.column < a.plan.columns;
  StatisticsOfPack<unit> statistics{};
  if (has_columns && a.statistic_map.second == 0) {
    statistics.load(a, a.statistic_map.at(place.outer, 0, place.column), unit);
  }
  for (std::int64_t row = place.first_row; row < place.end_row; row += rows_together) {
    Pack<T, unit> grad_output[rows_at_once];
    Pack<T, unit> x[rows_at_once];
    place.load<aligned>(a.grad_output, a.grad_output_map, a.plan, row, grad_output);
    place.load<aligned>(a.x, a.x_map, a.plan, row, x);
#pragma unroll
    for (int k = 0; k < rows_at_once; ++k) {
      const std::int64_t r = row + k * column_block_rows;
      if (!has_columns || r >= place.end_row) continue;
      if (a.statistic_map.second != 0) {
        statistics.load(a, a.statistic_map.at(place.outer, r, place.column), unit);
      }
      add_gradients<1>(a, grad_output[k], x[k], statistics,
                       a.weight_map.at(place.outer, r, place.column), unit, sums);
    }
  }
  combine_block_rows(sums, shared);
  if (!has_columns || place.block_row != 0) return;
  GradientSums<T>* slot =
      a.slots + place.slot * a.plan.sets() + place.outer * a.plan.columns + place.column;
  for (int j = 0; j < unit; ++j) slot[j] = sums[j];
}

}  // namespace normdrop::NORMDROP_DEVICE
