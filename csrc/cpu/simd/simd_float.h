// A pack of 16 floats, for passes whose error budget allows single precision: the same lanes as
// a pack of doubles, half the registers and no conversions.
#pragma once

#include "cpu/simd/simd.h"
#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

inline constexpr int float_parts = pack_size * 4 / vector_bytes;

inline constexpr int float_lanes = vector_bytes / 4;

using f32 = float __attribute__((vector_size(vector_bytes)));
using u32 = std::uint32_t __attribute__((vector_size(vector_bytes)));

struct float_pack {
  f32 part[float_parts];
};

#define NORMDROP_EACH_FLOAT_PART _Pragma("GCC unroll 4") for (int p = 0; p < float_parts; ++p)

NORMDROP_INLINE float_pack splat_float(float value) {
  float_pack result;
  NORMDROP_EACH_FLOAT_PART result.part[p] = value - f32{};
  return result;
}

NORMDROP_INLINE float_pack operator+(float_pack a, float_pack b) {
  NORMDROP_EACH_FLOAT_PART a.part[p] += b.part[p];
  return a;
}

NORMDROP_INLINE float_pack operator-(float_pack a, float_pack b) {
  NORMDROP_EACH_FLOAT_PART a.part[p] -= b.part[p];
  return a;
}

NORMDROP_INLINE float_pack operator*(float_pack a, float_pack b) {
  NORMDROP_EACH_FLOAT_PART a.part[p] *= b.part[p];
  return a;
}

NORMDROP_INLINE float_pack multiply_add(float_pack a, float_pack b, float_pack c) {
#if defined(__AVX512F__)
  c.part[0] = _mm512_fmadd_ps(a.part[0], b.part[0], c.part[0]);
#elif defined(__AVX2__)
  NORMDROP_EACH_FLOAT_PART c.part[p] = _mm256_fmadd_ps(a.part[p], b.part[p], c.part[p]);
#else
  NORMDROP_EACH_FLOAT_PART c.part[p] = a.part[p] * b.part[p] + c.part[p];
#endif
  return c;
}

// a * b - c rounded once: the rounding error of a product c. Without hardware support, 0.
NORMDROP_INLINE float_pack multiply_subtract(float_pack a, float_pack b, float_pack c) {
#if defined(__AVX512F__)
  c.part[0] = _mm512_fmsub_ps(a.part[0], b.part[0], c.part[0]);
#elif defined(__AVX2__)
  NORMDROP_EACH_FLOAT_PART c.part[p] = _mm256_fmsub_ps(a.part[p], b.part[p], c.part[p]);
#else
  NORMDROP_EACH_FLOAT_PART c.part[p] = a.part[p] * b.part[p] - c.part[p];
#endif
  return c;
}

// Whether a lane of `a` is above that of `b`; NaN is not.
NORMDROP_INLINE bool any_above(float_pack a, float_pack b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a.part[0], b.part[0], _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  const u32 found = (u32)(a.part[0] > b.part[0]) | (u32)(a.part[1] > b.part[1]);
  return _mm256_movemask_ps((__m256)found) != 0;
#else
  u32 found{};
  NORMDROP_EACH_FLOAT_PART found |= (u32)(a.part[p] > b.part[p]);
  std::uint32_t all = 0;
  for (int lane = 0; lane < float_lanes; ++lane) all |= found[lane];
  return all != 0;
#endif
}

NORMDROP_INLINE float_pack load_float(const float* source) {
  float_pack result;
  NORMDROP_EACH_FLOAT_PART {
    std::memcpy(&result.part[p], source + p * (vector_bytes / 4), vector_bytes);
  }
  return result;
}

NORMDROP_INLINE void store_float(float* target, float_pack value) {
  NORMDROP_EACH_FLOAT_PART {
    std::memcpy(target + p * (vector_bytes / 4), &value.part[p], vector_bytes);
  }
}

// Lanes behind the end of a run are read as 0 and not written.
template <class Extent>
NORMDROP_INLINE float_pack load_float(const float* source, Extent extent) {
  if constexpr (Extent::full) {
    return load_float(source);
  } else {
#if defined(__AVX512F__)
    const auto mask = static_cast<__mmask16>((1u << extent.count) - 1u);
    return {{_mm512_maskz_loadu_ps(mask, source)}};
#elif defined(__AVX2__)
    float_pack result;
    NORMDROP_EACH_FLOAT_PART {
      const int begin = p * float_lanes;
      const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(extent.count - begin), index);
      result.part[p] = _mm256_maskload_ps(source + begin, mask);
    }
    return result;
#else
    alignas(64) float padded[pack_size] = {};
    copy_first(padded, source, extent.count * static_cast<int>(sizeof(float)));
    return load_float(padded);
#endif
  }
}

template <class Extent>
NORMDROP_INLINE void store_float(float* target, float_pack value, Extent extent) {
  if constexpr (Extent::full) {
    store_float(target, value);
  } else {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(target, static_cast<__mmask16>((1u << extent.count) - 1u), value.part[0]);
#else
    alignas(64) float padded[pack_size];
    store_float(padded, value);
    copy_first(target, padded, extent.count * static_cast<int>(sizeof(float)));
#endif
  }
}

// A store past the caches, for outputs that no cache would hold; `target` on a 64-byte boundary.
// run_tasks fences such stores when a thread is done.
NORMDROP_INLINE void stream_vector(float* target, f32 value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(target, value);
#elif defined(__AVX2__)
  _mm256_stream_ps(target, value);
#else
  std::memcpy(target, &value, sizeof value);
#endif
}

NORMDROP_INLINE void stream_float(float* target, float_pack value) {
  NORMDROP_EACH_FLOAT_PART stream_vector(target + p * (vector_bytes / 4), value.part[p]);
}

// How an output's rows are written. `head` elements come before the first cache line of each.
struct Writing {
  bool streaming = false;
  int head = 0;
  // The rest of a long run may be a short one, which is not cut; see for_each_pack_after.
  template <class Length>
  NORMDROP_LAMBDA_INLINE Writing of(Length) const {
    return Length::is_short && head > 0 ? Writing{} : *this;
  }
};

template <class Extent>
NORMDROP_INLINE void store(float* target, float_pack value, Extent extent,
                           [[maybe_unused]] Writing how) {
  if constexpr (Extent::full) {
    if (how.streaming) return stream_float(target, value);
  }
  store_float(target, value, extent);
}

template <class Extent>
NORMDROP_INLINE void store(float* target, pack value, Extent extent, [[maybe_unused]] Writing how) {
#if defined(__AVX2__)
  if constexpr (Extent::full) {
    if (how.streaming) {
#if defined(__AVX512F__)
      NORMDROP_EACH_PART _mm256_stream_ps(target + p * lanes, narrow(value.part[p]));
#else
      NORMDROP_EACH_PART _mm_stream_ps(target + p * lanes, narrow(value.part[p]));
#endif
      return;
    }
  }
#endif
  store(target, value, extent);
}

// Runs of `length` neighbouring elements, `stride` elements apart, are streamed where all of the
// output is too large for the caches and cache lines (for elements of 2 bytes: halves of them, a
// pack each) begin at the same element of every run: the first, or a later one of runs that are
// long beside the two lines they share with their neighbours.
template <class T>
NORMDROP_INLINE Writing writing_of(const void* target, std::int64_t length, std::int64_t stride,
                                   std::int64_t all) {
  constexpr auto bytes = static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t line = pack_size * bytes;
  const auto to_line =
      static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(target) % std::uintptr_t{line});
  if (bytes == 8 || !has_fma || all * bytes < cpu::tuning::streamed_output_bytes ||
      stride % pack_size != 0 || to_line % bytes != 0 ||
      (to_line != 0 && length < cpu::tuning::cut_run_elements)) {
    return {};
  }
  return {true, static_cast<int>(to_line / bytes)};
}

NORMDROP_INLINE f32 load_vector(const float* source) {
  f32 value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

NORMDROP_INLINE void store_vector(float* target, f32 value) {
  std::memcpy(target, &value, sizeof value);
}

NORMDROP_INLINE float_pack narrow(pack value) {
  float_pack result;
#if defined(__AVX512F__)
  const __m512 low = _mm512_castps256_ps512(narrow(value.part[0]));
  result.part[0] = _mm512_insertf32x8(low, narrow(value.part[1]), 1);
#elif defined(__AVX2__)
  NORMDROP_EACH_FLOAT_PART {
    result.part[p] = _mm256_set_m128(narrow(value.part[2 * p + 1]), narrow(value.part[2 * p]));
  }
#else
  alignas(64) float lane[pack_size];
  store(lane, value);
  result = load_float(lane);
#endif
  return result;
}

NORMDROP_INLINE pack widen(float_pack value) {
  pack result;
#if defined(__AVX512F__)
  result.part[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(value.part[0]));
  result.part[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(value.part[0], 1));
#elif defined(__AVX2__)
  NORMDROP_EACH_FLOAT_PART {
    result.part[2 * p] = _mm256_cvtps_pd(_mm256_castps256_ps128(value.part[p]));
    result.part[2 * p + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(value.part[p], 1));
  }
#else
  alignas(64) float lane[pack_size];
  store_float(lane, value);
  result = load(lane);
#endif
  return result;
}

}  // namespace normdrop::NORMDROP_ISA
