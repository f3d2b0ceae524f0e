// Dropout (Hinton et al. 2012, Srivastava et al. 2014) and the noise of its family, of count elements:
//   y[i] = noise(x[i], word of i),   word(j) = philox4x32_10(counter = (j / 4, call), key = seed)[j % 4]
// ops/dropout.h says what a word does and which elements share one. Nothing is stored for the backward
// pass, which is the same function.
#include "cuda/engines/fill.cuh"
#include "cuda/engines/for_dtype.cuh"
#include "cuda/engines/noise.cuh"
#include "cuda/kernels/kernels.h"
#include "cuda/tuning.h"
#include "ops/dropout.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T, class Noise>
void apply(const Dropout& a) {
  const NoiseElements<T, Noise> elements{
      static_cast<const T*>(a.x), static_cast<T*>(a.y), a.count, a.draw, a.device_draw, Noise(a)};
  const auto grid = [&](int unit) {
    const std::int64_t per_block =
        static_cast<std::int64_t>(block_threads) * cuda_tuning::packs_per_thread * unit;
    return grid_of(divided_up(a.count, per_block), block_threads);
  };
  if (!is_plain(a.shape)) {
    launch("shared_noise", shared_noise<T, Noise>, grid(vector_elements<T>), a.stream, elements,
           SharedShape(a.shape));
    return;
  }
  for_either(lies_aligned(a.x, 0, 16) && lies_aligned(a.y, 0, 16), [&](auto aligned) {
    launch("noise_elements", noise_elements<T, aligned.is, Noise>, grid(group_elements<T>),
           a.stream, elements);
  });
}

template <class T>
void run(const Dropout& a) {
  switch (a.kind) {
    case DropoutKind::dropout:
      return apply<T, Dropping<wide<T>>>(a);
    case DropoutKind::alpha:
      return apply<T, AlphaDropping<wide<T>>>(a);
    case DropoutKind::uniform:
      return apply<T, UniformNoise<wide<T>>>(a);
    case DropoutKind::gaussian:
      return apply<T, GaussianNoise<wide<T>>>(a);
  }
}

__global__ void __launch_bounds__(block_threads) write_keep(DropoutKeep a, SharedShape shape) {
  SHARED_ARRAY(NoiseKeys, keys, 1);
  prepare_keys(keys[0], a.draw, a.device_draw);
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * block_threads + threadIdx.x;
  if (i >= a.count) return;
  const std::uint64_t element = a.draw.first_index + static_cast<std::uint64_t>(i);
  const std::uint64_t index =
      is_plain(a.shape) ? element : DrawnPlace(shape, static_cast<std::int64_t>(element)).word();
  const auto words = WordValues().values(keys[0].words(index / words_per_block));
  a.keep[i] = words.at(static_cast<int>(index % words_per_block)) < a.draw.threshold ? 1 : 0;
}

}  // namespace

void dropout(const Dropout& a) {
  if (a.count == 0) return;
  if (a.draw.threshold == 0) {
    fill_bytes(a.y, 0, a.count * bytes_of(a.dtype), a.stream);
    return;
  }
  for_dtype(a.dtype, [&](auto element) { run<decltype(element)>(a); });
}

void dropout_keep(const DropoutKeep& a) {
  if (a.count == 0) return;
  launch("write_keep", write_keep, grid_of(divided_up(a.count, block_threads), block_threads),
         a.stream, a, SharedShape(a.shape));
}

}  // namespace normdrop::NORMDROP_DEVICE
