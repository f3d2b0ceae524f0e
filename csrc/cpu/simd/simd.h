// Vectors for the kernels, compiled once per instruction set.
//
// A `pack` is 16 doubles, held in as many registers as the instruction set needs. Every kernel
// works on packs: element i of a run lives in lane i % 16 wherever the run starts, and sums are
// reduced over lanes in one fixed order, so threads and addresses never move a bit.
// Only this file, simd_float.h, philox_words.h and copy.cpp know about instruction sets.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#ifndef NORMDROP_ISA
#error "compile with -DNORMDROP_ISA=<tag>; see CMakeLists.txt"
#endif

#define NORMDROP_INLINE static inline __attribute__((always_inline))
#define NORMDROP_LAMBDA_INLINE __attribute__((always_inline))
// What is called seldom beside the elements it handles: objects share one copy, which the linker
// merges.
#define NORMDROP_OUT_OF_LINE __attribute__((noinline))

namespace normdrop::NORMDROP_ISA {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int vector_bytes = 32;
#else
inline constexpr int vector_bytes = 16;
#endif

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

// x86-64 before 2013: as exact as the others, small, and not tuned.
inline constexpr bool is_fallback = !has_fma;

inline constexpr int pack_size = 16;
inline constexpr int lanes = vector_bytes / 8;
inline constexpr int parts = pack_size / lanes;

using f64 = double __attribute__((vector_size(vector_bytes)));
using i64 = long long __attribute__((vector_size(vector_bytes)));
using f32_half = float __attribute__((vector_size(vector_bytes / 2)));
using f64_pair = double __attribute__((vector_size(16)));

// The length of arrays that loops over whole packs may read and write.
NORMDROP_INLINE std::int64_t padded(std::int64_t length) {
  return (length + pack_size - 1) / pack_size * pack_size;
}

struct pack {
  f64 part[parts];
};

#define NORMDROP_EACH_PART _Pragma("GCC unroll 8") for (int p = 0; p < parts; ++p)

NORMDROP_INLINE pack splat(double value) {
  pack result;
  NORMDROP_EACH_PART result.part[p] = value - f64{};
  return result;
}

NORMDROP_INLINE pack operator+(pack a, pack b) {
  NORMDROP_EACH_PART a.part[p] += b.part[p];
  return a;
}

NORMDROP_INLINE pack operator-(pack a, pack b) {
  NORMDROP_EACH_PART a.part[p] -= b.part[p];
  return a;
}

NORMDROP_INLINE pack operator*(pack a, pack b) {
  NORMDROP_EACH_PART a.part[p] *= b.part[p];
  return a;
}

NORMDROP_INLINE f64 multiply_add(f64 a, f64 b, f64 c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_pd(a, b, c);
#elif defined(__ARM_FEATURE_FMA)
  f64 result;
  for (int lane = 0; lane < lanes; ++lane) result[lane] = __builtin_fma(a[lane], b[lane], c[lane]);
  return result;
#else
  return a * b + c;
#endif
}

// a * b + c, rounded once where the instruction set can, twice on the baseline of x86-64.
NORMDROP_INLINE pack multiply_add(pack a, pack b, pack c) {
  NORMDROP_EACH_PART c.part[p] = multiply_add(a.part[p], b.part[p], c.part[p]);
  return c;
}

// a * b - c rounded once: the rounding error of a product c. Without hardware support, two roundings.
NORMDROP_INLINE pack multiply_subtract(pack a, pack b, pack c) {
#if defined(__AVX512F__)
  NORMDROP_EACH_PART c.part[p] = _mm512_fmsub_pd(a.part[p], b.part[p], c.part[p]);
#elif defined(__AVX2__)
  NORMDROP_EACH_PART c.part[p] = _mm256_fmsub_pd(a.part[p], b.part[p], c.part[p]);
#else
  NORMDROP_EACH_PART c.part[p] = multiply_add(a.part[p], b.part[p], -c.part[p]);
#endif
  return c;
}

// Conversions are spelt out: GCC 12 splits a generic one into halves and joins them again.
NORMDROP_INLINE f64 widen(f32_half value) {
#if defined(__AVX512F__)
  return _mm512_cvtps_pd(value);
#elif defined(__AVX2__)
  return _mm256_cvtps_pd(value);
#else
  return __builtin_convertvector(value, f64);
#endif
}

NORMDROP_INLINE f32_half narrow(f64 value) {
#if defined(__AVX512F__)
  return _mm512_cvtpd_ps(value);
#elif defined(__AVX2__)
  return _mm256_cvtpd_ps(value);
#else
  return __builtin_convertvector(value, f32_half);
#endif
}

NORMDROP_INLINE pack load(const double* source) {
  pack result;
  NORMDROP_EACH_PART std::memcpy(&result.part[p], source + p * lanes, sizeof(f64));
  return result;
}

NORMDROP_INLINE pack load(const float* source) {
  pack result;
  NORMDROP_EACH_PART {
    f32_half value;
    std::memcpy(&value, source + p * lanes, sizeof value);
    result.part[p] = widen(value);
  }
  return result;
}

NORMDROP_INLINE void store(double* target, pack value) {
  NORMDROP_EACH_PART std::memcpy(target + p * lanes, &value.part[p], sizeof(f64));
}

NORMDROP_INLINE void store(float* target, pack value) {
  NORMDROP_EACH_PART {
    const f32_half rounded = narrow(value.part[p]);
    std::memcpy(target + p * lanes, &rounded, sizeof rounded);
  }
}

// The first elements of a run to or from a pack's worth of them, by few moves of overlapping words.
// Out of line: the ends of runs are in every loop.
NORMDROP_OUT_OF_LINE inline void copy_first(void* target, const void* source, int bytes) {
  auto* to = static_cast<char*>(target);
  const auto* from = static_cast<const char*>(source);
  const auto move = [&](auto word) {
    constexpr int size = sizeof word;
    for (int i = 0; i + size < bytes; i += size) {
      std::memcpy(&word, from + i, sizeof word);
      std::memcpy(to + i, &word, sizeof word);
    }
    std::memcpy(&word, from + bytes - size, sizeof word);
    std::memcpy(to + bytes - size, &word, sizeof word);
  };
  if (bytes >= 16) return move(f64_pair{});
  if (bytes >= 8) return move(std::uint64_t{});
  if (bytes >= 4) return move(std::uint32_t{});
  if (bytes >= 2) return move(std::uint16_t{});
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// The sign bits of the lanes below `count`.
NORMDROP_INLINE __m256i lanes_of_64_below(int count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
NORMDROP_INLINE __m128i lanes_of_32_below(int count) {
  return _mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 1, 2, 3));
}
#endif

// The first `count` (0 .. 15) elements; the other lanes are 0 and nothing behind them is read.
template <class T>
NORMDROP_INLINE pack load_first(const T* source, int count) {
#if defined(__AVX512F__)
  pack result;
  if constexpr (sizeof(T) == 4) {
    const auto mask = static_cast<__mmask16>((1u << count) - 1u);
    const __m512 narrow = _mm512_maskz_loadu_ps(mask, source);
    result.part[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(narrow));
    result.part[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(narrow, 1));
  } else {
    const unsigned mask = (1u << count) - 1u;
    result.part[0] = _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), source);
    result.part[1] = _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask >> 8), source + 8);
  }
  return result;
#elif defined(__AVX2__)
  pack result;
  NORMDROP_EACH_PART {
    if constexpr (sizeof(T) == 4) {
      const __m128i mask = lanes_of_32_below(count - p * lanes);
      result.part[p] = widen(_mm_maskload_ps(source + p * lanes, mask));
    } else {
      const __m256i mask = lanes_of_64_below(count - p * lanes);
      result.part[p] = _mm256_maskload_pd(source + p * lanes, mask);
    }
  }
  return result;
#else
  alignas(64) T padded[pack_size] = {};
  copy_first(padded, source, count * static_cast<int>(sizeof(T)));
  return load(padded);
#endif
}

template <class T>
NORMDROP_INLINE void store_first(T* target, pack value, int count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const auto mask = static_cast<__mmask16>((1u << count) - 1u);
    const __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps(value.part[0]));
    _mm512_mask_storeu_ps(target, mask, _mm512_insertf32x8(low, _mm512_cvtpd_ps(value.part[1]), 1));
  } else {
    const unsigned mask = (1u << count) - 1u;
    _mm512_mask_storeu_pd(target, static_cast<__mmask8>(mask), value.part[0]);
    _mm512_mask_storeu_pd(target + 8, static_cast<__mmask8>(mask >> 8), value.part[1]);
  }
#else
  alignas(64) T padded[pack_size];
  store(padded, value);
  copy_first(target, padded, count * static_cast<int>(sizeof(T)));
#endif
}

// Lanes from `count` on become 0, whatever they held.
NORMDROP_INLINE pack keep_first(pack value, int count) {
  NORMDROP_EACH_PART {
    i64 index;
    for (int lane = 0; lane < lanes; ++lane) index[lane] = p * lanes + lane;
    const i64 limit = count - i64{};
    value.part[p] = index < limit ? value.part[p] : f64{};
  }
  return value;
}

// a + b on the multiply-add unit, which the kernels leave idler than the adder.
NORMDROP_INLINE pack add_by_fma(pack a, pack b) {
  if constexpr (has_fma) return multiply_add(a, splat(1.0), b);
  return a + b;
}
NORMDROP_INLINE pack subtract_by_fma(pack a, pack b) {
  if constexpr (has_fma) return multiply_add(b, splat(-1.0), a);
  return a - b;
}

// Sum of the lanes: i with i + 8, then i + 4, i + 2, i + 1.
NORMDROP_INLINE double sum_of_lanes(pack value) {
#if defined(__AVX512F__)
  const __m512d eight = value.part[0] + value.part[1];
  const __m256d four = _mm512_castpd512_pd256(eight) + _mm512_extractf64x4_pd(eight, 1);
  const __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
  return two[0] + two[1];
#elif defined(__AVX2__)
  const __m256d four = (value.part[0] + value.part[2]) + (value.part[1] + value.part[3]);
  const __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
  return two[0] + two[1];
#else
  alignas(64) double lane[pack_size];
  std::memcpy(lane, &value, sizeof lane);
  for (int i = 0; i < 8; ++i) lane[i] += lane[i + 8];
  for (int i = 0; i < 4; ++i) lane[i] += lane[i + 4];
  return (lane[0] + lane[2]) + (lane[1] + lane[3]);
#endif
}

// sum_of_lanes of each of eight packs, to the bit: halves of two packs are added at a time.
NORMDROP_INLINE void sums_of_lanes(const pack* values, double* sums) {
#if defined(__AVX512F__)
  __m512d eight[8];
  for (int k = 0; k < 8; ++k) eight[k] = values[k].part[0] + values[k].part[1];
  __m512d four[4];
  for (int k = 0; k < 4; ++k) {
    const __m512d a = eight[2 * k];
    const __m512d b = eight[2 * k + 1];
    four[k] = _mm512_shuffle_f64x2(a, b, 0x44) + _mm512_shuffle_f64x2(a, b, 0xEE);
  }
  __m512d two[2];
  for (int k = 0; k < 2; ++k) {
    const __m512d a = four[2 * k];
    const __m512d b = four[2 * k + 1];
    two[k] = _mm512_shuffle_f64x2(a, b, 0x88) + _mm512_shuffle_f64x2(a, b, 0xDD);
  }
  const __m512d one = _mm512_unpacklo_pd(two[0], two[1]) + _mm512_unpackhi_pd(two[0], two[1]);
  const __m512i in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  _mm512_storeu_pd(sums, _mm512_permutexvar_pd(in_order, one));
#elif defined(__AVX2__)
  for (int half = 0; half < 8; half += 4) {
    __m256d four[4];
    for (int k = 0; k < 4; ++k) {
      const pack& v = values[half + k];
      four[k] = (v.part[0] + v.part[2]) + (v.part[1] + v.part[3]);
    }
    __m256d two[2];
    for (int k = 0; k < 2; ++k) {
      const __m256d a = four[2 * k];
      const __m256d b = four[2 * k + 1];
      two[k] = _mm256_permute2f128_pd(a, b, 0x20) + _mm256_permute2f128_pd(a, b, 0x31);
    }
    const __m256d one = _mm256_unpacklo_pd(two[0], two[1]) + _mm256_unpackhi_pd(two[0], two[1]);
    _mm256_storeu_pd(sums + half, _mm256_permute4x64_pd(one, 0xD8));
  }
#else
  for (int k = 0; k < 8; ++k) sums[k] = sum_of_lanes(values[k]);
#endif
}

// Calls body(index, count) for each pack of a run: count is 16, and less only for the last.
// `body` is instantiated for both cases, so that full packs carry no masks.
struct full_pack {
  static constexpr bool full = true;
  int count = pack_size;
};
struct last_pack {
  static constexpr bool full = false;
  int count;
};

template <class Body>
NORMDROP_INLINE void for_each_pack(std::int64_t length, Body&& body) {
  std::int64_t i = 0;
  for (; i + pack_size <= length; i += pack_size) body(i, full_pack{});
  if (i < length) body(i, last_pack{static_cast<int>(length - i)});
}

// As above, after a first, shorter pack of `head` (0 .. 15) elements: up to where an output's cache
// lines begin. The first and the last pack share their code.
template <class Body>
NORMDROP_INLINE void for_each_pack_after(int head, std::int64_t length, Body&& body) {
  std::int64_t i = 0;
  std::int64_t partial = length < head ? length : head;
  bool at_end = false;
  while (true) {
    if (partial > 0) body(i, last_pack{static_cast<int>(partial)});
    i += partial;
    if (at_end) return;
    for (; i + pack_size <= length; i += pack_size) body(i, full_pack{});
    partial = length - i;
    at_end = true;
  }
}

// The length of many equally long runs. Up to short_packs packs are unrolled: a loop around each
// run of 49 elements costs more than its arithmetic.
inline constexpr int short_packs = is_fallback ? 0 : 4;

struct any_length {
  static constexpr bool is_short = false;
  std::int64_t length;
};

template <int full_packs, bool has_rest>
struct short_length {
  static constexpr bool is_short = true;
  static constexpr int packs = full_packs + (has_rest ? 1 : 0);
  std::int64_t length;
};

template <class Body>
NORMDROP_INLINE void for_each_pack(any_length run, Body&& body) {
  for_each_pack(run.length, body);
}

// Calls body(i, extent, odd) for each pack, with odd.is a constant that tells every other one.
template <bool value>
struct truth {
  static constexpr bool is = value;
};

template <class Body>
NORMDROP_INLINE void for_each_pair_of_packs(any_length run, Body&& body) {
  const std::int64_t length = run.length;
  std::int64_t i = 0;
  for (; i + 2 * pack_size <= length; i += 2 * pack_size) {
    body(i, full_pack{}, truth<false>{});
    body(i + pack_size, full_pack{}, truth<true>{});
  }
  if (i + pack_size <= length) {
    body(i, full_pack{}, truth<false>{});
    i += pack_size;
    if (i < length) body(i, last_pack{static_cast<int>(length - i)}, truth<true>{});
  } else if (i < length) {
    body(i, last_pack{static_cast<int>(length - i)}, truth<false>{});
  }
}

template <int full_packs, bool has_rest, class Body>
NORMDROP_INLINE void for_each_pair_of_packs(short_length<full_packs, has_rest> run, Body&& body) {
  constexpr int rest = full_packs * pack_size;
  if constexpr (full_packs > 0) body(0, full_pack{}, truth<false>{});
  if constexpr (full_packs > 1) body(pack_size, full_pack{}, truth<true>{});
  if constexpr (full_packs > 2) body(2 * pack_size, full_pack{}, truth<false>{});
  if constexpr (full_packs > 3) body(3 * pack_size, full_pack{}, truth<true>{});
  if constexpr (has_rest) {
    body(rest, last_pack{static_cast<int>(run.length) - rest}, truth<full_packs % 2 == 1>{});
  }
}

template <int full_packs, bool has_rest, class Body>
NORMDROP_INLINE void for_each_pack(short_length<full_packs, has_rest> run, Body&& body) {
#pragma GCC unroll 4
  for (int k = 0; k < full_packs; ++k) body(k * pack_size, full_pack{});
  if constexpr (has_rest) {
    constexpr int rest = full_packs * pack_size;
    body(rest, last_pack{static_cast<int>(run.length) - rest});
  }
}

template <class Body>
NORMDROP_INLINE void for_each_pack_after(int head, any_length run, Body&& body) {
  for_each_pack_after(head, run.length, body);
}

// As above with body(i, extent, value) for value = load(i, extent), which comes a pack ahead: a load
// that lies a little behind the latest store, give or take multiples of 4096 bytes, seems to the
// processor to read what was stored and waits for it. Loads before the store do not.
template <class Load, class Body>
NORMDROP_INLINE void for_each_pack_ahead(int head, any_length run, Load&& load, Body&& body) {
  const std::int64_t length = run.length;
  std::int64_t i = 0;
  std::int64_t partial = length < head ? length : head;
  bool at_end = false;
  while (true) {
    if (partial > 0) {
      const last_pack some{static_cast<int>(partial)};
      body(i, some, load(i, some));
    }
    i += partial;
    if (at_end) return;
    const std::int64_t last = length - pack_size;
    if (i <= last) {
      auto next = load(i, full_pack{});
      for (; i + pack_size <= last; i += pack_size) {
        const auto value = next;
        next = load(i + pack_size, full_pack{});
        body(i, full_pack{}, value);
      }
      body(i, full_pack{}, next);
      i += pack_size;
    }
    partial = length - i;
    at_end = true;
  }
}

// Short runs are never cut, and unrolled anyway.
template <int full_packs, bool has_rest, class Load, class Body>
NORMDROP_INLINE void for_each_pack_ahead(int, short_length<full_packs, has_rest> run, Load&& load,
                                         Body&& body) {
  for_each_pack(run, [&](std::int64_t i, auto extent)
                         NORMDROP_LAMBDA_INLINE { body(i, extent, load(i, extent)); });
}

// Short runs are never cut.
template <int full_packs, bool has_rest, class Body>
NORMDROP_INLINE void for_each_pack_after(int, short_length<full_packs, has_rest> run, Body&& body) {
  for_each_pack(run, body);
}

// Calls body(length) with a length whose type tells its number of packs where there are few.
template <bool with_rests = true, int full_packs = 0, class Body>
NORMDROP_INLINE void with_length(std::int64_t length, Body&& body) {
  if constexpr (full_packs <= short_packs) {
    constexpr std::int64_t whole = full_packs * pack_size;
    if constexpr (full_packs > 0) {
      if (length == whole) return body(short_length<full_packs, false>{length});
    }
    if constexpr (with_rests && full_packs < short_packs) {
      if (length > whole && length < whole + pack_size) {
        return body(short_length<full_packs, true>{length});
      }
    }
    with_length<with_rests, full_packs + 1>(length, body);
  } else {
    body(any_length{length});
  }
}

// Of elements of T: other than float32 takes one loop for every length, which compiles in a third of
// the time.
template <class T, bool with_rests = true, class Body>
NORMDROP_INLINE void with_length_of(std::int64_t length, Body&& body) {
  if constexpr (sizeof(T) == 4) {
    with_length<with_rests>(length, body);
  } else {
    body(any_length{length});
  }
}

template <class T, class Extent>
NORMDROP_INLINE pack load(const T* source, Extent extent) {
  if constexpr (Extent::full) {
    return load(source);
  } else {
    return load_first(source, extent.count);
  }
}

template <class T, class Extent>
NORMDROP_INLINE void store(T* target, pack value, Extent extent) {
  if constexpr (Extent::full) {
    store(target, value);
  } else {
    store_first(target, value, extent.count);
  }
}

template <class Extent>
NORMDROP_INLINE pack keep(pack value, Extent extent) {
  if constexpr (Extent::full) {
    return value;
  } else {
    return keep_first(value, extent.count);
  }
}

}  // namespace normdrop::NORMDROP_ISA
