// Dropout (Hinton et al. 2012, Srivastava et al. 2014), inverted form, of count elements:
//   y[i] = word(i) < threshold ? x[i] * scale : 0
//   word(i) = philox4x32_10(counter = (i / 4, call), key = seed)[i % 4]
// A thread makes whole Philox blocks for the elements it reads, so that masks do not depend on the
// launch and nothing is stored for the backward pass, which is the same function. A dropped element
// is 0 also where x is inf or NaN: select, not multiply.
#include "common/philox.h"
#include "cuda/engines/for_dtype.cuh"
#include "cuda/engines/pack_access.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"
#include "ops/dropout.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = cuda_tuning::block_threads;
constexpr int words_per_block = 4;

// (seed, call), from the arguments or from the device's memory.
struct Draw {
  std::uint64_t seed;
  std::uint64_t call;

  __device__ Draw(const DropoutDraw& draw, const std::uint64_t* device_draw)
      : seed(device_draw != nullptr ? device_draw[0] : draw.seed),
        call(device_draw != nullptr ? device_draw[1] : draw.call) {}

  __device__ philox::Block words(std::uint64_t block) const {
    const philox::Block counter{
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
         static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(call >> 32)}};
    return philox::block(counter, static_cast<std::uint32_t>(seed),
                         static_cast<std::uint32_t>(seed >> 32));
  }
};

// Elements that a thread handles together: a vector, and at least a whole Philox block.
template <class T>
inline constexpr int group_elements =
    vector_elements<T> > words_per_block ? vector_elements<T> : words_per_block;

template <class T, bool aligned>
struct Dropping {
  static constexpr int unit = vector_elements<T>;
  static constexpr int packs = group_elements<T> / unit;
  const T* x;
  T* y;
  std::int64_t count;
  std::uint64_t first_index;
  std::uint64_t threshold;
  wide<T> scale;

  __device__ __forceinline__ T result(T value, std::uint32_t word) const {
    return word < threshold ? rounded<T>(widened(value) * scale) : T{};
  }

  __device__ __forceinline__ PackPlace place(std::int64_t begin, int k) const {
    if constexpr (packs == 1) return place_in_warp<unit>(begin, count);
    const std::int64_t left = count - begin - k * unit;
    return {0, static_cast<int>(left < unit ? left : unit), false, false};
  }

  // A group whose first element has the first word of a block: whole, or of a warp whose lanes are
  // all here.
  __device__ __forceinline__ void group(std::int64_t begin, const Draw& draw) const {
    Pack<T, unit> pack[packs];
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      pack[k] =
          load_pack<T, unit, aligned, warp_threads, true>(x + begin + k * unit, place(begin, k));
    }
    const std::uint64_t first_block =
        (first_index + static_cast<std::uint64_t>(begin)) / words_per_block;
#pragma unroll
    for (int block = 0; block < group_elements<T> / words_per_block; ++block) {
      const philox::Block words = draw.words(first_block + static_cast<unsigned>(block));
#pragma unroll
      for (int word = 0; word < words_per_block; ++word) {
        const int j = block * words_per_block + word;
        auto& packed = pack[j / unit];
        packed.set(j % unit, result(packed[j % unit], words.word[word]));
      }
    }
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      store_pack<T, unit, aligned>(y + begin + k * unit, pack[k], place(begin, k));
    }
  }

  __device__ void elements(std::int64_t begin, std::int64_t end, const Draw& draw) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t index = first_index + static_cast<std::uint64_t>(i);
      y[i] = result(x[i], draw.words(index / words_per_block).word[index % words_per_block]);
    }
  }
};

template <class T, bool aligned>
__global__ void __launch_bounds__(threads) drop_elements(Dropout a) {
  constexpr int step = group_elements<T>;
  const Draw draw(a.draw, a.device_draw);
  const Dropping<T, aligned> dropping{
      static_cast<const T*>(a.x), static_cast<T*>(a.y), a.count,
      a.draw.first_index,         a.draw.threshold,     static_cast<wide<T>>(a.scale)};
  const bool whole_blocks = a.draw.first_index % words_per_block == 0;
  const std::int64_t first =
      static_cast<std::int64_t>(blockIdx.x) * cuda_tuning::packs_per_thread * threads;
#pragma unroll
  for (int k = 0; k < cuda_tuning::packs_per_thread; ++k) {
    const std::int64_t begin = (first + k * threads + threadIdx.x) * step;
    const bool with_neighbours = whole_blocks && !aligned;
    if (begin - (with_neighbours ? lane_in_warp() * step : 0) >= a.count) return;
    if (with_neighbours || (whole_blocks && begin + step <= a.count)) {
      dropping.group(begin, draw);
    } else {
      dropping.elements(begin, begin + step < a.count ? begin + step : a.count, draw);
    }
  }
}

__global__ void __launch_bounds__(threads) write_keep(DropoutKeep a) {
  const Draw draw(a.draw, a.device_draw);
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= a.count) return;
  const std::uint64_t index = a.draw.first_index + static_cast<std::uint64_t>(i);
  const std::uint32_t word = draw.words(index / words_per_block).word[index % words_per_block];
  a.keep[i] = word < a.draw.threshold ? 1 : 0;
}

template <class T>
void run(const Dropout& a) {
  constexpr std::int64_t per_block =
      static_cast<std::int64_t>(threads) * cuda_tuning::packs_per_thread * group_elements<T>;
  for_either(lies_aligned(a.x, 0, 16) && lies_aligned(a.y, 0, 16), [&](auto aligned) {
    launch("drop_elements", drop_elements<T, aligned.is>,
           grid_of(divided_up(a.count, per_block), threads), a.stream, a);
  });
}

}  // namespace

void dropout(const Dropout& a) {
  if (a.count == 0) return;
  for_dtype(a.dtype, [&](auto element) { run<decltype(element)>(a); });
}

void dropout_keep(const DropoutKeep& a) {
  if (a.count == 0) return;
  launch("write_keep", write_keep, grid_of(divided_up(a.count, threads), threads), a.stream, a);
}

}  // namespace normdrop::NORMDROP_DEVICE
