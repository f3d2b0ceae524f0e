// Layer norm of rows that the registers of some threads hold: one read, one write, two passes over
// registers for the variance. Short rows share a block and need no shared memory.
#pragma once

#include "cuda/norm_forward.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct NormaliseRows {
  const T* x;
  T* y;
  Parameter<T> weight;
  Parameter<T> bias;
  std::int64_t rows;
  int length;
  std::int64_t x_stride;
  std::int64_t y_stride;
  double eps;
  Statistics statistics;
  bool aligned;
  bool parameters_aligned;
};

// Threads of a block where `threads` of them share a row: many short rows, or one.
template <int threads>
inline constexpr int row_block_threads =
    threads > cuda_tuning::short_row_block ? threads : cuda_tuning::short_row_block;

template <class T, int unit, int threads>
__global__ void __launch_bounds__(row_block_threads<threads>)
    normalise_rows(NormaliseRows<T> a) {
  constexpr int rows = row_block_threads<threads> / threads;
  constexpr int packs = chunk_elements<T> / block_threads / unit;
  SHARED_ARRAY(double, largest_slots, slots_for<threads>);
  SHARED_ARRAY(Sum<T>, sum_slots, slots_for<threads>);
  SHARED_ARRAY(Sum<T>, square_slots, slots_for<threads>);
  const int thread = static_cast<int>(threadIdx.x) % threads;
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * rows + static_cast<int>(threadIdx.x) / threads;
  if (row >= a.rows) return;  // the whole group of threads
  const T* x = a.x + row * a.x_stride;
  T* y = a.y + row * a.y_stride;
  Pack<T, unit> pack[packs];
  bool valid[packs];
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    const int i = (thread + k * threads) * unit;
    valid[k] = i < a.length;
    pack[k] = valid[k] ? load_pack<T, unit, true>(x + i, a.aligned) : zero_pack<T, unit>();
  }
  const Normaliser n = normaliser_of<T>(
      moments_of<T, threads>(pack, valid, static_cast<double>(a.length), largest_slots, sum_slots,
                             square_slots),
      a.eps);
  if (thread == 0) a.statistics.set(row, n);
  const Held<T> held = hold<T>(n);
  const bool has_bias = a.bias.values != nullptr;
#pragma unroll
  for (int k = 0; k < packs; ++k) {
    if (!valid[k]) continue;
    const int i = (thread + k * threads) * unit;
    Arithmetic<T> weight[unit];
    Arithmetic<T> bias[unit];
    a.weight.load(i, 1, a.parameters_aligned, weight);
    a.bias.load(i, 0, a.parameters_aligned, bias);
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      pack[k].element[j] =
          normalised<true>(pack[k].element[j], held, &n, weight[j], bias[j], has_bias);
    }
    store_pack<T, unit>(y + i, pack[k], a.aligned);
  }
}

// Calls body with the number of threads that hold a row.
template <class T, class Body>
void for_threads_of_row(std::int64_t length, Body&& body) {
  constexpr std::int64_t each = chunk_elements<T> / block_threads;
  if (length <= 4 * each) return body(Number<4>{});
  if (length <= 8 * each) return body(Number<8>{});
  if (length <= 16 * each) return body(Number<16>{});
  if (length <= 32 * each) return body(Number<32>{});
  if (length <= 128 * each) return body(Number<128>{});
  body(Number<256>{});
}

template <class T>
void forward_of_short_rows(const ForwardArrays<T>& a, std::int64_t rows, std::int64_t length,
                           std::int64_t x_stride, std::int64_t y_stride) {
  for_unit<T>(length, [&](auto unit) {
    const bool aligned = packs_lie_aligned<T>(a.x, x_stride, unit.is) &&
                         packs_lie_aligned<T>(a.y, y_stride, unit.is);
    const bool parameters_aligned = packs_lie_aligned<T>(a.weight.values, 0, unit.is) &&
                                    packs_lie_aligned<T>(a.bias.values, 0, unit.is);
    const NormaliseRows<T> arguments{
        a.x,   a.y,          a.weight, a.bias, rows, static_cast<int>(length), x_stride, y_stride,
        a.eps, a.statistics, aligned,  parameters_aligned};
    for_threads_of_row<T>(length, [&](auto threads) {
      constexpr int block = row_block_threads<threads.is>;
      launch("normalise_rows", normalise_rows<T, unit.is, threads.is>,
             grid_of(divided_up(rows, block / threads.is), block), a.stream, arguments);
    });
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
