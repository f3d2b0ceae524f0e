// Layer norm of rows that stay on chip: one read, one write, two passes over registers for the
// variance. Short rows share a block and need no shared memory; a row of several chunks has a cluster
// of blocks, with one or several chunks each.
#pragma once

#include "cuda/engines/norm_forward.cuh"
#include "cuda/engines/on_chip.cuh"

namespace normdrop::NORMDROP_DEVICE {

template <class T>
struct NormaliseRows {
  const T* x;
  T* y;
  Parameter<T> weight;
  Parameter<T> bias;
  std::int64_t rows;
  std::int64_t length;
  Divisor divisor;  // the length
  std::int64_t x_stride;
  std::int64_t y_stride;
  double eps;
  Statistics statistics;
  bool parameters_aligned;
  bool plain_parameters;  // both there, and to be read as vectors of T
};

// Threads of a block where `threads` of them share a row: many short rows, or one.
template <int threads>
inline constexpr int row_block_threads =
    threads > cuda_tuning::short_row_block ? threads : cuda_tuning::short_row_block;

// A thread's elements of a row, or of a part of one: packs `threads` packs apart. `aligned`: all are
// whole vectors on their boundaries.
template <class T, bool aligned, int threads>
struct RowElements {
  static constexpr int unit = vector_elements<T>;
  static constexpr int packs = chunk_elements<T> / block_threads / unit;
  using Packs = PacksOfLine<unit, threads>;
  static constexpr bool whole_packs = aligned;
  Pack<T, unit> pack[packs];
  bool valid[packs];
  int length;

  __device__ __forceinline__ bool holds(int k, int j) const {
    return aligned ? valid[k] : Packs::offset(k) + j < length;
  }

  __device__ __forceinline__ explicit RowElements(int row_length) : length(row_length) {
#pragma unroll
    for (int k = 0; k < packs; ++k) valid[k] = Packs::offset(k) < length;
  }
  __device__ __forceinline__ int count() const { return length; }

  __device__ __forceinline__ void load(const T* x) {
    const T* from = x + Packs::offset(0);
    load_packs<aligned, Packs::lanes, true>(pack, [&](int k) { return from + k * stride; },
                                            [&](int k) { return Packs::place(k, length); });
  }

  // y[i] of parameters [first + i]
  __device__ __forceinline__ void write(T* y, const Normaliser& n, const NormaliseRows<T>& a,
                                        std::int64_t first) {
    T* to = y + Packs::offset(0);
    const std::int64_t parameter = first + Packs::offset(0);
    if (aligned && a.plain_parameters) {
      const T* weights = static_cast<const T*>(a.weight.values) + parameter;
      const T* biases = static_cast<const T*>(a.bias.values) + parameter;
      write_with(to, n, true, [&](int k, wide<T>(&weight)[unit], wide<T>(&bias)[unit]) {
        widen_vectors(weights + k * stride, weight);
        widen_vectors(biases + k * stride, bias);
      });
    } else {
      const bool has_bias = a.bias.values != nullptr;
      write_with(to, n, has_bias, [&](int k, wide<T>(&weight)[unit], wide<T>(&bias)[unit]) {
        const std::int64_t at = parameter + k * stride;
        const int count = aligned ? unit : length - Packs::offset(k);
        a.weight.load(at, count, 1, a.parameters_aligned, weight);
        a.bias.load(at, count, 0, a.parameters_aligned, bias);
      });
    }
  }

 private:
  static constexpr int stride = threads * unit;

  template <class Load>
  __device__ __forceinline__ void write_with(T* to, const Normaliser& n, bool has_bias,
                                             Load&& load_parameters) {
    const Held<T> held = hold<T>(n);
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      if (aligned ? !valid[k] : Packs::empty(k, length)) continue;
      forget_widened(pack[k]);
      wide<T> weight[unit];
      wide<T> bias[unit];
      load_parameters(k, weight, bias);
      normalise_pack<true>(pack[k], held, &n, weight, bias, has_bias);
      store_pack<T, unit, aligned, Packs::lanes>(to + k * stride, pack[k], Packs::place(k, length));
    }
  }
};

// Threads that a multiprocessor holds at once: what bounds the registers of one.
template <class T, bool aligned>
inline constexpr int row_threads_resident =
    aligned && sizeof(T) < 8 ? cuda_tuning::row_threads_resident
                             : cuda_tuning::wide_row_threads_resident;

template <class T, bool aligned, int threads>
__global__ void __launch_bounds__(row_block_threads<threads>,
                                  row_threads_resident<T, aligned> / row_block_threads<threads>)
    normalise_rows(NormaliseRows<T> a) {
  constexpr int rows = row_block_threads<threads> / threads;
  SHARED_ARRAY(double, largest_slots, slots_for<threads>);
  SHARED_ARRAY(running_sums<T>, sum_slots, slots_for<threads>);
  SHARED_ARRAY(running_sums<T>, square_slots, slots_for<threads>);
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * rows + static_cast<int>(threadIdx.x) / threads;
  if (row >= a.rows) return;  // the whole team
  RowElements<T, aligned, threads> elements(static_cast<int>(a.length));
  elements.load(a.x + row * a.x_stride);
  const Moments moments = moments_of<threads>(
      elements, a.divisor, MomentSlots<T>{largest_slots, sum_slots, square_slots});
  const auto finish = [&](const Normaliser& n) {
    if (threadIdx.x % threads == 0) a.statistics.set(row, n);
    elements.write(a.y + row * a.y_stride, n, a, 0);
  };
  if constexpr (threads > warp_threads) {
    SHARED_ARRAY(Normaliser, shared, 1);
    share_normaliser<T>(a.divisor, a.eps, shared, [&] { return moments; });
    finish(*shared);
  } else {
    finish(normaliser_of<T>(moments, a.divisor, a.eps));
  }
}

// A row of several chunks.
template <class T, bool aligned, bool several>
__global__ void __launch_bounds__(block_threads,
                                  several ? cuda_tuning::several_blocks_resident
                                          : row_threads_resident<T, aligned> / block_threads)
    normalise_rows_on_chip(NormaliseRows<T> a, ChunkSpread spread) {
  using Elements = RowElements<T, aligned, block_threads>;
  const auto blocks = static_cast<unsigned>(spread.blocks);
  const std::int64_t row = blockIdx.x / blocks;
  const T* x = a.x + row * a.x_stride;
  T* y = a.y + row * a.y_stride;
  const auto begin = [](int chunk) { return static_cast<std::int64_t>(chunk) * chunk_elements<T>; };
  const auto outline = [&](int chunk) {
    const std::int64_t left = a.length - begin(chunk);
    return Elements(static_cast<int>(left < chunk_elements<T> ? left : chunk_elements<T>));
  };
  const auto load = [&](Elements& elements, int chunk) { elements.load(x + begin(chunk)); };
  const auto report = [&](const Normaliser& n) { a.statistics.set(row, n); };
  const auto write = [&](Elements& elements, int chunk, const Normaliser& n) {
    elements.write(y + begin(chunk), n, a, begin(chunk));
  };
  normalise_on_chip<T, several>(spread, static_cast<int>(blockIdx.x % blocks), a.divisor, a.eps,
                                outline, load, report, write);
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

// Chunks of a row: one for each block of its cluster.
template <class T>
std::int64_t chunks_of_row(std::int64_t length) {
  return divided_up(length, chunk_elements<T>);
}

template <class T>
void forward_of_rows_on_chip(const ForwardArrays<T>& a, std::int64_t rows, std::int64_t length,
                             std::int64_t x_stride, std::int64_t y_stride,
                             const ChunkSpread& spread) {
  constexpr int unit = vector_elements<T>;
  const bool parameters_aligned = packs_lie_aligned<T>(a.weight.values, 0, unit) &&
                                  packs_lie_aligned<T>(a.bias.values, 0, unit);
  const bool in_vectors = length % unit == 0 && packs_lie_aligned<T>(a.x, x_stride, unit) &&
                          packs_lie_aligned<T>(a.y, y_stride, unit);
  const NormaliseRows<T> arguments{
      a.x,
      a.y,
      a.weight,
      a.bias,
      rows,
      length,
      Divisor(static_cast<double>(length)),
      x_stride,
      y_stride,
      a.eps,
      a.statistics,
      parameters_aligned,
      a.weight.plain(parameters_aligned) && a.bias.plain(parameters_aligned)};
  for_either(in_vectors, [&](auto aligned) {
    if (spread.chunks > 1) {
      for_either(spread.of_block > 1, [&](auto several) {
        launch("normalise_rows_on_chip", normalise_rows_on_chip<T, aligned.is, several.is>,
               clusters_of(spread, rows, block_threads), a.stream, arguments, spread);
      });
      return;
    }
    for_threads_of_row<T>(length, [&](auto threads) {
      constexpr int block = row_block_threads<threads.is>;
      launch("normalise_rows", normalise_rows<T, aligned.is, threads.is>,
             grid_of(divided_up(rows, block / threads.is), block), a.stream, arguments);
    });
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
