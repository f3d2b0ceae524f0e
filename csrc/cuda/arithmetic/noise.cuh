// What words make of elements: the functors of dropout's family, those of ../../cpu/arithmetic/noise.h.
// `Value` is what an element needs of its word: the word itself, or a factor made of it. Dropping
// selects and does not multiply, so that a dropped NaN or infinity leaves no trace. No product is
// fused with a sum: the bits are those of the CPU.
#pragma once

#include "common/normals.h"
#include "common/philox.h"
#include "ops/dropout.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int words_per_block = 4;

// Of the four elements of a Philox block.
template <class Value>
struct BlockValues {
  Value value[words_per_block];

  // By selection, so that the values stay in registers.
  __device__ __forceinline__ Value at(int i) const {
    return i < 2 ? (i == 0 ? value[0] : value[1]) : (i == 2 ? value[2] : value[3]);
  }
};

struct WordValues {
  using Value = std::uint32_t;

  __device__ __forceinline__ BlockValues<Value> values(const philox::Block& words) const {
    return {{words.word[0], words.word[1], words.word[2], words.word[3]}};
  }
};

template <class Real>
struct Dropping : WordValues {
  std::uint32_t last_kept;
  Real scale;

  explicit Dropping(const Dropout& a)
      : last_kept(static_cast<std::uint32_t>(a.draw.threshold - 1)),
        scale(static_cast<Real>(a.scale)) {}
  __device__ __forceinline__ Real operator()(Real x, std::uint32_t word) const {
    return word <= last_kept ? x * scale : Real{};
  }
};

// Klambauer et al. 2017.
template <class Real>
struct AlphaDropping : WordValues {
  std::uint32_t last_kept;
  Real scale;
  Real shift;
  Real dropped;

  explicit AlphaDropping(const Dropout& a)
      : last_kept(static_cast<std::uint32_t>(a.draw.threshold - 1)),
        scale(static_cast<Real>(a.scale)),
        shift(static_cast<Real>(a.shift)),
        dropped(static_cast<Real>(a.dropped)) {}
  __device__ __forceinline__ Real operator()(Real x, std::uint32_t word) const {
    return word <= last_kept ? x * scale + shift : dropped;
  }
};

// Li et al. 2019: a factor from 1 - beta to 1 + beta; scale is beta / 2^31.
template <class Real>
struct UniformNoise : WordValues {
  Real scale;

  explicit UniformNoise(const Dropout& a) : scale(static_cast<Real>(a.scale)) {}
  __device__ __forceinline__ Real operator()(Real x, std::uint32_t word) const {
    const Real place =
        static_cast<Real>(static_cast<std::int32_t>(word ^ 0x80000000u)) + static_cast<Real>(0.5);
    return x * (static_cast<Real>(1) + scale * place);
  }
};

// Factors 1 + normal of variance `scale`, worked out in double and rounded once.
template <class Real>
struct GaussianNoise {
  using Value = Real;
  double scale;

  explicit GaussianNoise(const Dropout& a) : scale(a.scale) {}
  __device__ __forceinline__ Real operator()(Real x, Real factor) const { return x * factor; }

  __device__ __forceinline__ BlockValues<Real> values(const philox::Block& words) const {
    BlockValues<Real> result;
#pragma unroll
    for (int k = 0; k < words_per_block; k += 2) {
      const double radius = sqrt(scale * normals::squared_radius(words.word[k]));
      const normals::Direction direction = normals::direction(words.word[k + 1]);
      result.value[k] = static_cast<Real>(1.0 + radius * direction.cosine);
      result.value[k + 1] = static_cast<Real>(1.0 + radius * direction.sine);
    }
    return result;
  }
};

}  // namespace normdrop::NORMDROP_DEVICE
