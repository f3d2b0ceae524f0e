// Many Philox4x32-10 blocks at once, in element order.
//
// A 64-bit lane holds one 32-bit word of one block in its low half; the product of two low halves
// is the multiply that the instruction sets have. High halves hold leftovers that no later step
// reads. Words leave as element 4 * block + word.
#pragma once

#include "common/philox.h"
#include "cpu/simd.h"

namespace normdrop::NORMDROP_ISA {

using u64 = unsigned long long __attribute__((vector_size(vector_bytes)));

inline constexpr int words_at_once = 256;

NORMDROP_INLINE u64 multiply_low_halves(u64 a, u64 b) {
#if defined(__AVX512F__)
  return reinterpret_cast<u64>(
      _mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<u64>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<u64>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a & 0xFFFFFFFFull) * (b & 0xFFFFFFFFull);
#endif
}

struct PhiloxKeys {
  std::uint32_t key[philox::rounds][2];
};

NORMDROP_INLINE PhiloxKeys philox_keys(std::uint64_t seed) {
  PhiloxKeys keys;
  for (int round = 0; round < philox::rounds; ++round) {
    keys.key[round][0] =
        static_cast<std::uint32_t>(seed) + static_cast<std::uint32_t>(round) * philox::weyl_0;
    keys.key[round][1] =
        static_cast<std::uint32_t>(seed >> 32) + static_cast<std::uint32_t>(round) * philox::weyl_1;
  }
  return keys;
}

// Words of blocks first, first + 1, ... of (call, keys): 4 * lanes words at a time.
template <int vectors>
NORMDROP_INLINE void philox_vectors(std::uint64_t first, std::uint64_t call, const PhiloxKeys& keys,
                                    std::uint32_t* words) {
  const u64 zero{};
  u64 index;
  for (int lane = 0; lane < lanes; ++lane) index[lane] = static_cast<unsigned long long>(lane);
  u64 c0[vectors];
  u64 c1[vectors];
  u64 c2[vectors];
  u64 c3[vectors];
  for (int v = 0; v < vectors; ++v) {
    c0[v] = index + (first + static_cast<std::uint64_t>(v * lanes));
    c1[v] = c0[v] >> 32;
    c2[v] = zero + (call & 0xFFFFFFFFull);
    c3[v] = zero + (call >> 32);
  }
  const u64 m0 = zero + static_cast<unsigned long long>(philox::multiplier_0);
  const u64 m1 = zero + static_cast<unsigned long long>(philox::multiplier_1);
#pragma GCC unroll 10
  for (int round = 0; round < philox::rounds; ++round) {
    const u64 k0 = zero + static_cast<unsigned long long>(keys.key[round][0]);
    const u64 k1 = zero + static_cast<unsigned long long>(keys.key[round][1]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const u64 product_0 = multiply_low_halves(c0[v], m0);
      const u64 product_1 = multiply_low_halves(c2[v], m1);
      c0[v] = (product_1 >> 32) ^ c1[v] ^ k0;
      c1[v] = product_1;
      c2[v] = (product_0 >> 32) ^ c3[v] ^ k1;
      c3[v] = product_0;
    }
  }
  for (int v = 0; v < vectors; ++v) {
    const u64 low = (c0[v] & 0xFFFFFFFFull) | (c1[v] << 32);   // words 0 and 1 of each block
    const u64 high = (c2[v] & 0xFFFFFFFFull) | (c3[v] << 32);  // words 2 and 3
    std::uint32_t* out = words + v * 4 * lanes;
#if defined(__AVX512F__)
    const __m512i even = _mm512_permutex2var_epi64(reinterpret_cast<__m512i>(low),
                                                   _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
                                                   reinterpret_cast<__m512i>(high));
    const __m512i odd = _mm512_permutex2var_epi64(reinterpret_cast<__m512i>(low),
                                                  _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15),
                                                  reinterpret_cast<__m512i>(high));
    _mm512_storeu_si512(out, even);
    _mm512_storeu_si512(out + 16, odd);
#else
    std::uint64_t pair[2][lanes];
    std::memcpy(pair[0], &low, sizeof low);
    std::memcpy(pair[1], &high, sizeof high);
    for (int lane = 0; lane < lanes; ++lane) {
      std::memcpy(out + 4 * lane, &pair[0][lane], 8);
      std::memcpy(out + 4 * lane + 2, &pair[1][lane], 8);
    }
#endif
  }
}

// words_at_once words from element `first`, a multiple of 4.
NORMDROP_INLINE void philox_words(std::uint64_t first, std::uint64_t call, const PhiloxKeys& keys,
                                  std::uint32_t* words) {
  constexpr int vectors = 4;
  constexpr int step = vectors * lanes * 4;
  for (int i = 0; i < words_at_once; i += step) {
    philox_vectors<vectors>((first + static_cast<std::uint64_t>(i)) / 4, call, keys, words + i);
  }
}

}  // namespace normdrop::NORMDROP_ISA
