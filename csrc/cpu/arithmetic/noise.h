// What words make of elements: the functors of dropout's family. `Value` is what an element needs of
// its word: the word itself (`takes_words`), or a factor made of it. A functor takes one element and
// its value or a vector of both; `line` is what a value means for a run of elements that share it.
// `in_registers`: whether it has a loop in which words never go through memory, 7 KB of code a type.
// `Real` is what elements are computed in. Dropping selects and does not multiply, so that a dropped
// NaN or infinity leaves no trace.
#pragma once

#include "common/normals.h"
#include "cpu/arithmetic/philox_words.h"
#include "cpu/simd/simd_half.h"
#include "ops/dropout.h"

namespace normdrop::NORMDROP_ISA {

using i32 = std::int32_t __attribute__((vector_size(vector_bytes)));

// Of a number, or of a vector in each of whose lanes it is.
template <class X, class Number>
NORMDROP_INLINE X in_lanes(Number value) {
  return value - X{};
}

// x * scale + shift for a run of elements, or one number for all of them.
template <class Real>
struct NoiseLine {
  bool constant;
  Real scale;
  Real shift;  // -0 adds nothing to any number
  Real value;
};

template <class Real>
class Dropping {
 public:
  using Value = std::uint32_t;
  static constexpr bool takes_words = true;
  static constexpr bool in_registers = true;

  explicit Dropping(const Dropout& a)
      : last_kept_(static_cast<std::uint32_t>(a.draw.threshold - 1)),
        scale_(static_cast<Real>(a.scale)) {}

  template <class X, class Words>
  NORMDROP_LAMBDA_INLINE X operator()(X x, Words words) const {
    const X product = x * in_lanes<X>(scale_);
    return words <= in_lanes<Words>(last_kept_) ? product : X{};
  }
  NoiseLine<Real> line(Value word) const { return {word > last_kept_, scale_, -Real{}, 0}; }

 private:
  std::uint32_t last_kept_;
  Real scale_;
};

// Klambauer et al. 2017: to the value that SELU tends to, and back to the mean and variance of x.
template <class Real>
class AlphaDropping {
 public:
  using Value = std::uint32_t;
  static constexpr bool takes_words = true;
  static constexpr bool in_registers = false;

  explicit AlphaDropping(const Dropout& a)
      : last_kept_(static_cast<std::uint32_t>(a.draw.threshold - 1)),
        scale_(static_cast<Real>(a.scale)),
        shift_(static_cast<Real>(a.shift)),
        dropped_(static_cast<Real>(a.dropped)) {}

  template <class X, class Words>
  NORMDROP_LAMBDA_INLINE X operator()(X x, Words words) const {
    const X kept = x * in_lanes<X>(scale_) + in_lanes<X>(shift_);
    return words <= in_lanes<Words>(last_kept_) ? kept : in_lanes<X>(dropped_);
  }
  NoiseLine<Real> line(Value word) const { return {word > last_kept_, scale_, shift_, dropped_}; }

 private:
  std::uint32_t last_kept_;
  Real scale_;
  Real shift_;
  Real dropped_;
};

// The words as numbers from -2^31 to 2^31 - 1.
NORMDROP_INLINE f32 centred(f32, u32 words) {
  const i32 integers = reinterpret_cast<i32>(words ^ 0x80000000u);
#if defined(__AVX512F__)
  return _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(integers));
#else
  return __builtin_convertvector(integers, f32);
#endif
}
template <class X>
NORMDROP_INLINE X centred(X, std::uint32_t word) {
  return static_cast<X>(static_cast<std::int32_t>(word ^ 0x80000000u));
}

// Li et al. 2019: a factor from 1 - beta to 1 + beta; scale is beta / 2^31.
template <class Real>
class UniformNoise {
 public:
  using Value = std::uint32_t;
  static constexpr bool takes_words = true;
  static constexpr bool in_registers = false;

  explicit UniformNoise(const Dropout& a) : scale_(static_cast<Real>(a.scale)) {}

  template <class X, class Words>
  NORMDROP_LAMBDA_INLINE X operator()(X x, Words words) const {
    const X place = centred(X{}, words) + in_lanes<X>(static_cast<Real>(0.5));
    return x * (in_lanes<X>(static_cast<Real>(1)) + in_lanes<X>(scale_) * place);
  }
  NoiseLine<Real> line(Value word) const { return {false, (*this)(Real{1}, word), -Real{}, 0}; }

 private:
  Real scale_;
};

// Factors 1 + normal of variance `scale`, worked out in double and rounded once. Words are in pairs.
template <class Real>
class GaussianNoise {
 public:
  using Value = Real;
  static constexpr bool takes_words = false;
  static constexpr bool in_registers = false;

  explicit GaussianNoise(const Dropout& a) : scale_(a.scale) {}

  template <class X, class Factors>
  NORMDROP_LAMBDA_INLINE X operator()(X x, Factors factors) const {
    return x * factors;
  }
  NoiseLine<Real> line(Value factor) const { return {false, factor, -Real{}, 0}; }

  // Of `words_at_once` words from the first of a Philox block on.
  __attribute__((noinline)) void values(const std::uint32_t* words, Value* factors) const {
    constexpr int pairs = words_at_once / 2;
    double radius[pairs];
    double cosine[pairs];
    double sine[pairs];
#pragma omp simd
    for (int k = 0; k < pairs; ++k) {
      radius[k] = __builtin_sqrt(scale_ * normals::squared_radius(words[2 * k]));
    }
#pragma omp simd
    for (int k = 0; k < pairs; ++k) {
      const normals::Direction of_pair = normals::direction(words[2 * k + 1]);
      cosine[k] = of_pair.cosine;
      sine[k] = of_pair.sine;
    }
#pragma omp simd
    for (int k = 0; k < pairs; ++k) {
      factors[2 * k] = static_cast<Value>(1.0 + radius[k] * cosine[k]);
      factors[2 * k + 1] = static_cast<Value>(1.0 + radius[k] * sine[k]);
    }
  }

 private:
  double scale_;
};

}  // namespace normdrop::NORMDROP_ISA
