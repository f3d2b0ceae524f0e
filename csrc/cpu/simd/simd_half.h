// Elements of 16 bits: float16 (IEEE 754 binary16) and bfloat16 (the upper half of a float32).
// They are only stored: a load widens to float32, which holds every one of them, and a store rounds
// to the nearest, ties to even. Where the instruction set has no conversion, integer arithmetic and
// exact scaling do the same, to the bit. (NaN stays NaN; its payload means nothing.)
#pragma once

#include "cpu/simd/simd_float.h"

namespace normdrop::NORMDROP_ISA {

struct float16 {
  std::uint16_t bits;
};
struct bfloat16 {
  std::uint16_t bits;
};

template <class T>
concept half_type = sizeof(T) == 2;

// What elements of T are computed in at least, and what their parameters are given in.
template <class T>
struct wide_type {
  using type = float;
};
template <>
struct wide_type<double> {
  using type = double;
};
template <class T>
using wide = typename wide_type<T>::type;

// float32 and the half types: doubles hold their differences, squares and products.
template <class T>
inline constexpr bool is_narrow = sizeof(T) <= 4;

// Whether passes over elements of T may run in single precision, which carries its roundings along
// by fma.
template <class T>
inline constexpr bool suits_single = is_narrow<T> && has_fma;

using u16_half = std::uint16_t __attribute__((vector_size(vector_bytes / 2)));

// The portable conversions, for one number or a vector of them. A float16's exponent and mantissa,
// moved to where float32 has them, are the number times 2^-112: subnormals too.
inline constexpr float beyond_float16 = 65536.0f;

template <class Float, class Bits>
NORMDROP_INLINE Float float_of(float16, Bits half) {
  const Float value = __builtin_bit_cast(Float, (half & 0x7fffu) << 13) * 0x1p112f;
  const Bits special = value >= (Float{} + beyond_float16) ? Bits{} + 0x7f800000u : Bits{};
  const Bits sign = (half & 0x8000u) << 16;
  return __builtin_bit_cast(Float, __builtin_bit_cast(Bits, value) | special | sign);
}

template <class Float, class Bits>
NORMDROP_INLINE Float float_of(bfloat16, Bits half) {
  return __builtin_bit_cast(Float, half << 16);
}

template <class Bits, class Float>
NORMDROP_INLINE Bits bits_of(float16, Float value) {
  const Bits bits = __builtin_bit_cast(Bits, value);
  const Float magnitude = __builtin_bit_cast(Float, bits & 0x7fffffffu);
  const Float infinity = Float{} + beyond_float16;
  const Float bounded = magnitude < infinity ? magnitude : infinity;
  // Beside 2^13 times the number's power of two, float32 keeps just the bits that float16 has.
  const Float power = __builtin_bit_cast(Float, __builtin_bit_cast(Bits, bounded) & 0x7f800000u);
  const Float smallest = Float{} + 0x1p-14f;
  const Float shifter = (power > smallest ? power : smallest) * 0x1p13f;
  const Float rounded = (bounded + shifter) - shifter;
  const Bits number = __builtin_bit_cast(Bits, rounded * 0x1p-112f) >> 13;
  const Bits nan = ((bits >> 13) & 0x3ffu) | 0x7e00u;
  return (value == value ? number : nan) | ((bits >> 16) & 0x8000u);
}

template <class Bits, class Float>
NORMDROP_INLINE Bits bits_of(bfloat16, Float value) {
  const Bits bits = __builtin_bit_cast(Bits, value);
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return value == value ? rounded : Bits{} + 0x7fc0u;  // a NaN could round to infinity, or beyond
}

// One element as it is computed with.
NORMDROP_INLINE float value_of(float element) { return element; }
NORMDROP_INLINE double value_of(double element) { return element; }
template <half_type T>
NORMDROP_INLINE float value_of(T element) {
  return float_of<float>(element, std::uint32_t{element.bits});
}

NORMDROP_INLINE u32 widen_bits(u16_half bits) {
#if defined(__AVX512F__)
  return (u32)_mm512_cvtepu16_epi32((__m256i)bits);
#elif defined(__AVX2__)
  return (u32)_mm256_cvtepu16_epi32((__m128i)bits);
#elif defined(__SSE2__)
  const __m128i low = _mm_cvtsi64_si128(__builtin_bit_cast(long long, bits));
  return (u32)_mm_unpacklo_epi16(low, _mm_setzero_si128());
#else
  return __builtin_convertvector(bits, u32);
#endif
}

// Of numbers below 2^16.
NORMDROP_INLINE u16_half narrow_bits(u32 bits) {
#if defined(__AVX512F__)
  return (u16_half)_mm512_cvtepi32_epi16((__m512i)bits);
#elif defined(__AVX2__)
  const __m256i both = (__m256i)bits;
  return (u16_half)_mm_packus_epi32(_mm256_castsi256_si128(both),
                                    _mm256_extracti128_si256(both, 1));
#elif defined(__SSE2__)
  const __m128i extended = _mm_srai_epi32(_mm_slli_epi32((__m128i)bits, 16), 16);
  const __m128i low = _mm_packs_epi32(extended, extended);
  return __builtin_bit_cast(u16_half, _mm_cvtsi128_si64(low));
#else
  return __builtin_convertvector(bits, u16_half);
#endif
}

template <half_type T>
NORMDROP_INLINE f32 widen_vector(u16_half bits) {
  return float_of<f32>(T{}, widen_bits(bits));
}
template <half_type T>
NORMDROP_INLINE u16_half narrow_vector(f32 value) {
  return narrow_bits(bits_of<u32>(T{}, value));
}

#if defined(__AVX512F__)
template <>
inline __attribute__((always_inline)) f32 widen_vector<float16>(u16_half bits) {
  return _mm512_cvtph_ps((__m256i)bits);
}
template <>
inline __attribute__((always_inline)) u16_half narrow_vector<float16>(f32 value) {
  return (u16_half)_mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
}
#elif defined(__F16C__)
template <>
inline __attribute__((always_inline)) f32 widen_vector<float16>(u16_half bits) {
  return _mm256_cvtph_ps((__m128i)bits);
}
template <>
inline __attribute__((always_inline)) u16_half narrow_vector<float16>(f32 value) {
  return (u16_half)_mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT);
}
#endif

// As many elements as a vector has floats.
template <half_type T>
NORMDROP_INLINE f32 load_vector(const T* source) {
  u16_half bits;
  std::memcpy(&bits, source, sizeof bits);
  return widen_vector<T>(bits);
}

template <half_type T>
NORMDROP_INLINE void store_vector(T* target, f32 value) {
  const u16_half bits = narrow_vector<T>(value);
  std::memcpy(target, &bits, sizeof bits);
}

// See stream_vector(float*, f32); `target` on a boundary of half a vector.
template <half_type T>
NORMDROP_INLINE void stream_vector(T* target, f32 value) {
#if defined(__AVX512F__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(target), (__m256i)narrow_vector<T>(value));
#elif defined(__AVX2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(target), (__m128i)narrow_vector<T>(value));
#else
  store_vector(target, value);
#endif
}

// Packs of 16.
template <half_type T>
NORMDROP_INLINE float_pack load_float(const T* source) {
  float_pack result;
  NORMDROP_EACH_FLOAT_PART result.part[p] = load_vector(source + p * float_lanes);
  return result;
}

template <half_type T>
NORMDROP_INLINE void store_float(T* target, float_pack value) {
  NORMDROP_EACH_FLOAT_PART store_vector(target + p * float_lanes, value.part[p]);
}

template <half_type T, class Extent>
NORMDROP_INLINE float_pack load_float(const T* source, Extent extent) {
  if constexpr (Extent::full) {
    return load_float(source);
  } else {
#if defined(__AVX512F__)
    const auto mask = static_cast<__mmask16>((1u << extent.count) - 1u);
    return {{widen_vector<T>((u16_half)_mm256_maskz_loadu_epi16(mask, source))}};
#else
    alignas(64) T padded[pack_size] = {};
    copy_first(padded, source, extent.count * static_cast<int>(sizeof(T)));
    return load_float(padded);
#endif
  }
}

template <half_type T, class Extent>
NORMDROP_INLINE void store_float(T* target, float_pack value, Extent extent) {
  if constexpr (Extent::full) {
    store_float(target, value);
  } else {
#if defined(__AVX512F__)
    const auto mask = static_cast<__mmask16>((1u << extent.count) - 1u);
    _mm256_mask_storeu_epi16(target, mask, (__m256i)narrow_vector<T>(value.part[0]));
#else
    alignas(64) T padded[pack_size];
    store_float(padded, value);
    copy_first(target, padded, extent.count * static_cast<int>(sizeof(T)));
#endif
  }
}

template <half_type T, class Extent>
NORMDROP_INLINE void store(T* target, float_pack value, Extent extent,
                           [[maybe_unused]] Writing how) {
  if constexpr (Extent::full) {
    if (how.streaming) {
      NORMDROP_EACH_FLOAT_PART stream_vector(target + p * float_lanes, value.part[p]);
      return;
    }
  }
  store_float(target, value, extent);
}

// Doubles round to float32 first: of the results between two float16 one in 8192 goes the other
// way for it, and is then off by a hair more than half a unit.
template <half_type T, class Extent>
NORMDROP_INLINE void store(T* target, pack value, Extent extent, Writing how) {
  store(target, narrow(value), extent, how);
}
template <half_type T, class Extent>
NORMDROP_INLINE void store(T* target, pack value, Extent extent) {
  store_float(target, narrow(value), extent);
}

template <half_type T, class Extent>
NORMDROP_INLINE pack load(const T* source, Extent extent) {
  return widen(load_float(source, extent));
}

}  // namespace normdrop::NORMDROP_ISA
