// Norms of rows that stay on chip: one read, one write, the statistic from registers.
//   y = (x - mean) * inv_std * weight + bias
// A team of threads holds a row. Short rows share a block and need no shared memory; a row of
// several chunks has a cluster of blocks, with one or several chunks each. What differs from norm
// to norm is passed in: the statistic (moments.cuh), the prologue (where elements come from) and
// the parameters (which weight and bias belong to an element).
#pragma once

#include "cuda/arithmetic/quotient.cuh"
#include "cuda/engines/norm_forward.cuh"
#include "cuda/engines/on_chip.cuh"

namespace normdrop::NORMDROP_DEVICE {

// Where rows begin in an array that has `together` of them, `step` apart, in each of its outer
// indices.
struct RowPlaces {
  Quotient together;
  std::int64_t outer_step;
  std::int64_t step;

  __device__ __forceinline__ std::int64_t at(std::int64_t row) const {
    const std::int64_t outer = together.of(row);
    return outer * outer_step + (row - outer * together.divisor()) * step;
  }
};

// One row in each outer index.
inline RowPlaces rows_apart(std::int64_t stride) { return {Quotient(1), stride, 0}; }

template <class T, class Prologue, class Parameters>
struct NormaliseRows {
  Prologue prologue;
  T* y;
  Parameters parameters;
  std::int64_t rows;
  std::int64_t length;
  Divisor divisor;  // the length
  RowPlaces y_rows;
  double eps;
  Statistics statistics;
};

// Elements are those of an array.
template <class T>
struct FromArray {
  const T* x;
  RowPlaces x_rows;

  __device__ __forceinline__ void begin() {}
  template <class Elements>
  __device__ __forceinline__ void load(Elements& elements, std::int64_t row,
                                       std::int64_t first) const {
    elements.load(x + x_rows.at(row) + first);
  }
};

// A weight and a bias for each element of a row.
template <class T>
struct ParametersOfElements {
  Parameter<T> weight;
  Parameter<T> bias;
  bool aligned;
  bool plain;  // both there, and to be read as vectors of T

  ParametersOfElements(const Parameter<T>& weights, const Parameter<T>& biases)
      : weight(weights),
        bias(biases),
        aligned(packs_lie_aligned<T>(weight.values, 0, vector_elements<T>) &&
                packs_lie_aligned<T>(bias.values, 0, vector_elements<T>)),
        plain(weight.plain(aligned) && bias.plain(aligned)) {}

  __device__ __forceinline__ bool are_plain() const { return plain; }
  template <int unit>
  __device__ __forceinline__ void load_plain(bool wanted, std::int64_t position,
                                             wide<T> (&weights)[unit],
                                             wide<T> (&biases)[unit]) const {
    widen_vectors(address_or_zeros(wanted, static_cast<const T*>(weight.values) + position),
                  weights);
    widen_vectors(address_or_zeros(wanted, static_cast<const T*>(bias.values) + position), biases);
  }
  template <int unit>
  __device__ __forceinline__ void load(std::int64_t, std::int64_t position, int count,
                                       wide<T> (&weights)[unit], wide<T> (&biases)[unit]) const {
    weight.load(position, count, 1, aligned, weights);
    bias.load(position, count, 0, aligned, biases);
  }
};

// A weight and a bias for each channel: rows are `after` neighbouring elements of each of their
// channels.
template <class T>
struct ParametersOfChannels {
  Parameter<T> weight;
  Parameter<T> bias;
  Quotient after;
  Quotient rows_together;  // rows that have all channels
  std::int64_t channels_of_row;

  __device__ __forceinline__ bool are_plain() const { return false; }
  template <int unit>
  __device__ __forceinline__ void load_plain(bool, std::int64_t, wide<T> (&)[unit],
                                             wide<T> (&)[unit]) const {}
  template <int unit>
  __device__ __forceinline__ void load(std::int64_t row, std::int64_t position, int count,
                                       wide<T> (&weights)[unit], wide<T> (&biases)[unit]) const {
    const std::int64_t index = row - rows_together.of(row) * rows_together.divisor();
    const std::int64_t of_row = after.of(position);
    std::int64_t channel = index * channels_of_row + of_row;
    std::int64_t left = (of_row + 1) * after.divisor() - position;  // elements of the channel
    fill(weights, weight.at(channel, 1));
    fill(biases, bias.at(channel, 0));
    if (left >= unit) return;
#pragma unroll
    for (int j = 1; j < unit; ++j) {
      if (--left == 0 && j < count) {
        left = after.divisor();
        ++channel;
        for_rest<unit>(j, weight.at(channel, 1), weights);
        for_rest<unit>(j, bias.at(channel, 0), biases);
      }
    }
  }

 private:
  template <int unit>
  __device__ __forceinline__ static void for_rest(int begin, wide<T> value, wide<T> (&out)[unit]) {
#pragma unroll
    for (int j = 0; j < unit; ++j) out[j] = j < begin ? out[j] : value;
  }
};

// Threads of a block where `threads` of them share a row: many short rows, or one.
template <int threads>
inline constexpr int row_block_threads =
    threads > cuda_tuning::short_row_block ? threads : cuda_tuning::short_row_block;

// A thread's elements of a row, or of a part of one: packs `threads` packs apart. `aligned`: all
// are whole vectors on their boundaries.
template <class T, bool aligned, int threads>
struct RowElements {
  static constexpr int unit = vector_elements<T>;
  static constexpr int packs = chunk_elements<T> / block_threads / unit;
  using Packs = PacksOfLine<unit, threads>;
  static constexpr bool whole_packs = aligned;
  Pack<T, unit> pack[packs];
  int length;

  __device__ __forceinline__ bool holds(int k, int j) const {
    return Packs::offset(k) + (aligned ? 0 : j) < length;
  }

  __device__ __forceinline__ explicit RowElements(int row_length) : length(row_length) {}
  __device__ __forceinline__ int count() const { return length; }

  __device__ __forceinline__ void load(const T* x) {
    const T* from = x + Packs::offset(0);
    load_packs<aligned, Packs::lanes, true>(pack, [&](int k) { return from + k * stride; },
                                            [&](int k) { return Packs::place(k, length); });
  }

  // To y, elements [first, ...) of a row.
  template <class Parameters>
  __device__ __forceinline__ void write(T* y, const Normaliser& n, const Parameters& parameters,
                                        std::int64_t row, std::int64_t first) {
    T* to = y + Packs::offset(0);
    const std::int64_t position = first + Packs::offset(0);
    const bool has_bias = parameters.bias.values != nullptr;
    const auto plain = [&](int k, wide<T>(&weight)[unit], wide<T>(&bias)[unit]) {
      parameters.load_plain(holds(k, 0), position + k * stride, weight, bias);
    };
    const auto any = [&](int k, wide<T>(&weight)[unit], wide<T>(&bias)[unit]) {
      if (aligned ? !holds(k, 0) : Packs::empty(k, length)) return;
      const int count = aligned ? unit : length - Packs::offset(k);
      parameters.load(row, position + k * stride, count, weight, bias);
    };
    const Held<T> held = hold<T>(n);
    const auto quick = [&](T x, wide<T> weight, wide<T> bias, bool with_bias) {
      if constexpr (sizeof(T) == 8) {
        return normalised_exactly<true>(x, held, weight, bias, with_bias);
      } else {
        return normalised_in_single(x, held, weight, bias, with_bias);
      }
    };
    bool suits = true;
    if constexpr (sizeof(T) < 8) suits = held.usable;
    if (suits && aligned && parameters.are_plain()) {
      write_packs(to, plain,
                  [&](T x, wide<T> weight, wide<T> bias) { return quick(x, weight, bias, true); });
    } else if (suits) {
      write_packs(to, any, [&](T x, wide<T> weight, wide<T> bias) {
        return quick(x, weight, bias, has_bias);
      });
    } else if constexpr (sizeof(T) < 8) {
      write_packs(to, any, [&](T x, float weight, float bias) {
        return normalised_in_double(x, n, static_cast<double>(weight), static_cast<double>(bias),
                                    has_bias);
      });
    }
  }

  static constexpr int stride = threads * unit;

 private:
  // Parameters of two packs are asked for before the first is used.
  static constexpr int together = aligned && packs % 2 == 0 ? 2 : 1;

  template <class Load, class Element>
  __device__ __forceinline__ void write_packs(T* to, Load&& load_parameters, Element&& element) {
#pragma unroll
    for (int first = 0; first < packs; first += together) {
      wide<T> weight[together][unit] = {};
      wide<T> bias[together][unit] = {};
#pragma unroll
      for (int i = 0; i < together; ++i) load_parameters(first + i, weight[i], bias[i]);
#pragma unroll
      for (int i = 0; i < together; ++i) {
        const int k = first + i;
        if (!aligned && Packs::empty(k, length)) continue;
        forget_widened(pack[k]);
#pragma unroll
        for (int j = 0; j < unit; ++j) {
          pack[k].set(j, element(pack[k][j], weight[i][j], bias[i][j]));
        }
        store_pack<T, unit, aligned, Packs::lanes>(to + k * stride, pack[k],
                                                   Packs::place(k, length));
      }
    }
  }
};

// Threads that a multiprocessor holds at once: what bounds the registers of one.
template <class T, bool aligned>
inline constexpr int row_threads_resident =
    aligned && sizeof(T) < 8 ? cuda_tuning::row_threads_resident
                             : cuda_tuning::wide_row_threads_resident;

template <class T, bool aligned, int threads, class Statistic, class Prologue, class Parameters>
__global__ void __launch_bounds__(row_block_threads<threads>,
                                  row_threads_resident<T, aligned> / row_block_threads<threads>)
    normalise_rows(NormaliseRows<T, Prologue, Parameters> a) {
  constexpr int rows = row_block_threads<threads> / threads;
  SHARED_ARRAY(double, largest_slots, slots_for<threads>);
  SHARED_ARRAY(running_sums<T>, sum_slots, slots_for<threads>);
  SHARED_ARRAY(running_sums<T>, square_slots, slots_for<threads>);
  Prologue prologue = a.prologue;
  prologue.begin();
  const std::int64_t row =
      static_cast<std::int64_t>(blockIdx.x) * rows + static_cast<int>(threadIdx.x) / threads;
  if (row >= a.rows) return;  // the whole team
  RowElements<T, aligned, threads> elements(static_cast<int>(a.length));
  prologue.load(elements, row, 0);
  const Moments moments = moments_of<threads>(
      elements, a.divisor, MomentSlots<T>{largest_slots, sum_slots, square_slots}, Statistic{});
  const auto finish = [&](const Normaliser& n) {
    if (threadIdx.x % threads == 0) a.statistics.set(row, n);
    elements.write(a.y + a.y_rows.at(row), n, a.parameters, row, 0);
  };
  if constexpr (threads > warp_threads) {
    SHARED_ARRAY(Normaliser, shared, 1);
    share_normaliser<T>(a.divisor, a.eps, Statistic{}, shared, [&] { return moments; });
    finish(*shared);
  } else {
    finish(normaliser_of<T>(moments, a.divisor, a.eps, Statistic{}));
  }
}

// A row of several chunks.
template <class T, bool aligned, bool several, class Statistic, class Prologue, class Parameters>
__global__ void __launch_bounds__(block_threads,
                                  several ? cuda_tuning::several_blocks_resident
                                          : cuda_tuning::chunk_threads_resident / block_threads)
    normalise_rows_on_chip(NormaliseRows<T, Prologue, Parameters> a, ChunkSpread spread) {
  using Elements = RowElements<T, aligned, block_threads>;
  const auto blocks = static_cast<unsigned>(spread.blocks);
  const std::int64_t row = blockIdx.x / blocks;
  T* y = a.y + a.y_rows.at(row);
  const auto begin = [](int chunk) { return static_cast<std::int64_t>(chunk) * chunk_elements<T>; };
  const auto outline = [&](int chunk) {
    const std::int64_t left = a.length - begin(chunk);
    return Elements(static_cast<int>(left < chunk_elements<T> ? left : chunk_elements<T>));
  };
  Prologue prologue = a.prologue;
  prologue.begin();
  const auto load = [&](Elements& elements, int chunk) {
    prologue.load(elements, row, begin(chunk));
  };
  const auto report = [&](const Normaliser& n) { a.statistics.set(row, n); };
  const auto write = [&](Elements& elements, int chunk, const Normaliser& n) {
    elements.write(y + begin(chunk), n, a.parameters, row, begin(chunk));
  };
  normalise_on_chip<T, several>(spread, static_cast<int>(blockIdx.x % blocks), Statistic{},
                                a.divisor, a.eps, outline, load, report, write);
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

// How chunks of a row lie on this card's chip; no blocks: they do not.
template <class T>
ChunkSpread spread_of_row(std::int64_t length) {
  return spread_on_chip(divided_up(length, chunk_elements<T>), chunk_bytes<T>);
}

template <class Statistic, bool aligned, class T, class Prologue, class Parameters>
void launch_rows(const NormaliseRows<T, Prologue, Parameters>& a, const ChunkSpread& spread,
                 void* stream) {
  if (spread.chunks > 1) {
    for_either(spread.of_block > 1, [&](auto several) {
      launch("normalise_rows_on_chip",
             normalise_rows_on_chip<T, aligned, several.is, Statistic, Prologue, Parameters>,
             clusters_of(spread, a.rows, block_threads), stream, a, spread);
    });
    return;
  }
  for_threads_of_row<T>(a.length, [&](auto threads) {
    constexpr int block = row_block_threads<threads.is>;
    launch("normalise_rows",
           normalise_rows<T, aligned, threads.is, Statistic, Prologue, Parameters>,
           grid_of(divided_up(a.rows, block / threads.is), block), stream, a);
  });
}

}  // namespace normdrop::NORMDROP_DEVICE
