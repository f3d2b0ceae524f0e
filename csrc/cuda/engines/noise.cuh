// How elements meet their words. Where every element has a word of its own, a thread makes whole
// Philox blocks for the elements it reads (`noise_elements`); where some share theirs, it finds the
// word of each of its packs' elements (`shared_noise`). So masks do not depend on the launch.
#pragma once

#include "cuda/arithmetic/noise.cuh"
#include "cuda/engines/dense_shape.cuh"
#include "cuda/engines/pack_access.cuh"

namespace normdrop::NORMDROP_DEVICE {

// The round keys are the same for all threads: worked out once for a block.
struct alignas(16) NoiseKeys {
  philox::Keys rounds;
  std::uint32_t call[2];

  __device__ __forceinline__ philox::Block words(std::uint64_t block) const {
    return philox::block({{static_cast<std::uint32_t>(block),
                           static_cast<std::uint32_t>(block >> 32), call[0], call[1]}},
                         rounds);
  }
};

// All threads of the block come here. (seed, call) are those of the arguments or in the device's
// memory.
__device__ __forceinline__ void prepare_keys(NoiseKeys& keys, const DropoutDraw& draw,
                                             const std::uint64_t* device_draw) {
  const auto round = static_cast<unsigned>(threadIdx.x);
  if (round <= static_cast<unsigned>(philox::rounds)) {
    const bool last = round == static_cast<unsigned>(philox::rounds);
    const std::uint64_t number =
        device_draw != nullptr ? device_draw[last ? 1 : 0] : (last ? draw.call : draw.seed);
    const auto low = static_cast<std::uint32_t>(number);
    const auto high = static_cast<std::uint32_t>(number >> 32);
    if (last) {
      keys.call[0] = low;
      keys.call[1] = high;
    } else {
      keys.rounds.key[round][0] = low + round * philox::weyl_0;
      keys.rounds.key[round][1] = high + round * philox::weyl_1;
    }
  }
  __syncthreads();
}

// Elements that a thread handles together: a vector, and at least a whole Philox block.
template <class T>
inline constexpr int group_elements =
    vector_elements<T> > words_per_block ? vector_elements<T> : words_per_block;

template <class T, class Noise>
struct NoiseElements {
  const T* x;
  T* y;
  std::int64_t count;
  DropoutDraw draw;
  const std::uint64_t* device_draw;
  Noise noise;

  __device__ __forceinline__ T result(T value, typename Noise::Value drawn) const {
    return rounded<T>(noise(widened(value), drawn));
  }
};

// A group of elements in registers.
template <class T, bool aligned, class Noise>
struct Group {
  static constexpr int elements = group_elements<T>;
  static constexpr int unit = vector_elements<T>;
  static constexpr int packs = elements / unit;
  std::int64_t begin;
  Pack<T, unit> pack[packs];

  __device__ __forceinline__ PackPlace place(const NoiseElements<T, Noise>& a, int k) const {
    if constexpr (packs == 1) return place_in_warp<unit>(begin, a.count);
    const std::int64_t left = a.count - begin - k * unit;
    return {0, static_cast<int>(left < unit ? left : unit), false, false};
  }
  // Whole, or of a warp whose lanes are all here.
  __device__ __forceinline__ void load(const NoiseElements<T, Noise>& a) {
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      pack[k] =
          load_pack<T, unit, aligned, warp_threads, true>(a.x + begin + k * unit, place(a, k));
    }
  }
  __device__ __forceinline__ void store(const NoiseElements<T, Noise>& a) const {
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      store_pack<T, unit, aligned>(a.y + begin + k * unit, pack[k], place(a, k));
    }
  }
  // Its first element has the first word of a block.
  __device__ __forceinline__ void apply(const NoiseElements<T, Noise>& a, const NoiseKeys& keys) {
    const std::uint64_t first =
        (a.draw.first_index + static_cast<std::uint64_t>(begin)) / words_per_block;
#pragma unroll
    for (int block = 0; block < elements / words_per_block; ++block) {
      const auto drawn = a.noise.values(keys.words(first + static_cast<unsigned>(block)));
#pragma unroll
      for (int word = 0; word < words_per_block; ++word) {
        const int j = block * words_per_block + word;
        auto& packed = pack[j / unit];
        packed.set(j % unit, a.result(packed[j % unit], drawn.value[word]));
      }
    }
  }
};

template <class T, class Noise>
__device__ void noise_of_single_elements(const NoiseElements<T, Noise>& a, const NoiseKeys& keys,
                                         std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) {
    const std::uint64_t index = a.draw.first_index + static_cast<std::uint64_t>(i);
    const auto drawn = a.noise.values(keys.words(index / words_per_block));
    a.y[i] = a.result(a.x[i], drawn.at(static_cast<int>(index % words_per_block)));
  }
}

// A thread reads all of its groups before it uses the first.
template <class T, bool aligned, class Noise>
__global__ void __launch_bounds__(block_threads, cuda_tuning::noise_blocks_resident)
    noise_elements(NoiseElements<T, Noise> a) {
  using Own = Group<T, aligned, Noise>;
  constexpr int step = Own::elements;
  const bool whole_blocks = a.draw.first_index % words_per_block == 0;
  const bool with_neighbours = whole_blocks && !aligned;
  const std::int64_t first =
      static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread * block_threads;
  Own group[cuda_tuning::packs_per_thread];
  bool whole[cuda_tuning::packs_per_thread];
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    const std::int64_t begin = (first + k * block_threads + threadIdx.x) * step;
    const std::int64_t of_warp = begin - lane_in_warp() * step;
    group[k].begin = begin;
    whole[k] = with_neighbours ? of_warp < a.count : whole_blocks && begin + step <= a.count;
    if (whole[k]) group[k].load(a);
  }
  SHARED_ARRAY(NoiseKeys, keys, 1);
  prepare_keys(keys[0], a.draw, a.device_draw);
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    if (whole[k]) {
      group[k].apply(a, keys[0]);
      group[k].store(a);
    } else {
      const std::int64_t begin = group[k].begin;
      noise_of_single_elements(a, keys[0], begin, begin + step < a.count ? begin + step : a.count);
    }
  }
}

// DrawnShape, in the arguments of a kernel. An array of 2^63 elements has fewer outer axes.
struct SharedShape {
  struct Axis {
    Quotient by_size{1};
    std::int64_t size = 1;
    std::int64_t step = 0;
  };
  static constexpr int most_outer_axes = 62;
  Quotient by_rows;
  Quotient by_drawn;
  Quotient by_inner;
  std::int64_t rows;
  std::int64_t drawn;
  std::int64_t inner;
  int outer_axes;
  Axis outer[most_outer_axes];

  explicit SharedShape(const DrawnShape& shape)
      : by_rows(shape.rows),
        by_drawn(shape.drawn),
        by_inner(shape.inner),
        rows(shape.rows),
        drawn(shape.drawn),
        inner(shape.inner),
        outer_axes(shape.outer_axes) {
    for (int axis = 0; axis < outer_axes; ++axis) {
      outer[axis] = {Quotient(shape.outer[axis].size), shape.outer[axis].size,
                     shape.outer[axis].step};
    }
  }

  // The index of the first word of a line: of all drawn elements that are neighbours.
  __device__ __forceinline__ std::int64_t first_word(std::int64_t line) const {
    std::int64_t left = by_rows.of(line);
    std::int64_t index = 0;
    for (int axis = outer_axes - 1; axis >= 0; --axis) {
      const std::int64_t next = outer[axis].by_size.of(left);
      index += (left - next * outer[axis].size) * outer[axis].step;
      left = next;
    }
    return index;
  }
};

// Of an element: its place among those that share its word, and the words of its line.
struct DrawnPlace {
  std::int64_t line;
  std::int64_t drawn;
  std::int64_t inner;
  std::int64_t first_word;

  __device__ __forceinline__ DrawnPlace(const SharedShape& shape, std::int64_t element) {
    const std::int64_t run = shape.by_inner.of(element);
    inner = element - run * shape.inner;
    line = shape.by_drawn.of(run);
    drawn = run - line * shape.drawn;
    first_word = shape.first_word(line);
  }
  __device__ __forceinline__ std::uint64_t word() const {
    return static_cast<std::uint64_t>(first_word + drawn);
  }
  __device__ __forceinline__ void next(const SharedShape& shape) {
    if (++inner < shape.inner) return;
    inner = 0;
    if (++drawn < shape.drawn) return;
    drawn = 0;
    first_word = shape.first_word(++line);
  }
};

// The value of one word after another; a block is made once for neighbours that are in it.
template <class Noise>
class LatestBlock {
 public:
  __device__ __forceinline__ LatestBlock(const Noise& noise, const NoiseKeys& keys,
                                         std::uint64_t word)
      : noise_(noise), keys_(keys) {
    make(word / words_per_block);
  }
  __device__ __forceinline__ typename Noise::Value at(std::uint64_t word) {
    if (word / words_per_block != block_) make(word / words_per_block);
    return values_.at(static_cast<int>(word % words_per_block));
  }

 private:
  __device__ __forceinline__ void make(std::uint64_t block) {
    block_ = block;
    values_ = noise_.values(keys_.words(block));
  }

  const Noise& noise_;
  const NoiseKeys& keys_;
  std::uint64_t block_;
  BlockValues<typename Noise::Value> values_;
};

// The value of the word of each element of a pack.
template <class T, int unit, class Noise>
__device__ __forceinline__ void apply_shared(const NoiseElements<T, Noise>& a,
                                             const NoiseKeys& keys, const SharedShape& shape,
                                             std::int64_t begin, int count, Pack<T, unit>& pack) {
  DrawnPlace at(shape, static_cast<std::int64_t>(a.draw.first_index) + begin);
  LatestBlock<Noise> latest(a.noise, keys, at.word());
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= count) break;
    pack.set(j, a.result(pack[j], latest.at(at.word())));
    at.next(shape);
  }
}

template <class T, class Noise>
__global__ void __launch_bounds__(block_threads)
    shared_noise(NoiseElements<T, Noise> a, SharedShape shape) {
  constexpr int unit = vector_elements<T>;
  SHARED_ARRAY(NoiseKeys, keys, 1);
  prepare_keys(keys[0], a.draw, a.device_draw);
  const std::int64_t first =
      static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread * block_threads;
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    const std::int64_t begin = (first + k * block_threads + threadIdx.x) * unit;
    if (begin - lane_in_warp() * unit >= a.count) return;
    const PackPlace place = place_in_warp<unit>(begin, a.count);
    auto pack = load_pack<T, unit, false, warp_threads, true>(a.x + begin, place);
    if (place.after > 0) apply_shared(a, keys[0], shape, begin, place.after, pack);
    store_pack<T, unit, false>(a.y + begin, pack, place);
  }
}

}  // namespace normdrop::NORMDROP_DEVICE
