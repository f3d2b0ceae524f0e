// Many Philox4x32-10 blocks at once, in element order.
//
// A 64-bit lane holds one 32-bit word of one block in its low half; the product of two low halves
// is the multiply that the instruction sets have. High halves hold leftovers that no later step
// reads. Blocks that follow each other share three of their four counter words, so the first
// rounds have one product where later ones have two. Words leave as element 4 * block + word.
#pragma once

#include "common/philox.h"
#include "cpu/simd/simd.h"

namespace normdrop::NORMDROP_ISA {

using u64 = unsigned long long __attribute__((vector_size(vector_bytes)));

inline constexpr int words_at_once = 256;
inline constexpr unsigned long long low_half = 0xFFFFFFFFull;

NORMDROP_INLINE u64 splat_bits(unsigned long long value) { return value + u64{}; }

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
  return (a & low_half) * (b & low_half);
#endif
}

// The two words that the last round makes of one product, in the order in which they leave: below
// high(product) ^ word ^ key, above low(product).
NORMDROP_INLINE u64 last_words(u64 product, u64 word, u64 key) {
  const u64 swapped = (product >> 32) | (product << 32);
#if defined(__AVX512F__)
  const __m512i bits = reinterpret_cast<__m512i>(swapped);
  return reinterpret_cast<u64>(_mm512_mask_ternarylogic_epi32(
      bits, 0x5555, reinterpret_cast<__m512i>(word), reinterpret_cast<__m512i>(key), 0x96));
#else
  return swapped ^ key ^ (word & low_half);
#endif
}

// Lane i of a vector holds the block that two interleaving stores put in order.
NORMDROP_INLINE u64 block_of_lane() {
  u64 block;
  for (int lane = 0; lane < lanes; ++lane) {
    block[lane] = static_cast<unsigned long long>(lane / 2 + lane % 2 * (lanes / 2));
  }
  return block;
}

// Words 0 and 1 of `lanes` blocks in `front`, words 2 and 3 in `back`: 4 * lanes words in order, by
// emit(offset, vector of 2 * lanes words), twice.
template <class Emit>
NORMDROP_INLINE void emit_words(int offset, u64 front, u64 back, Emit&& emit) {
#if defined(__AVX512F__)
  emit(offset, __builtin_shufflevector(front, back, 0, 8, 2, 10, 4, 12, 6, 14));
  emit(offset + 2 * lanes, __builtin_shufflevector(front, back, 1, 9, 3, 11, 5, 13, 7, 15));
#elif defined(__AVX2__)
  emit(offset, __builtin_shufflevector(front, back, 0, 4, 2, 6));
  emit(offset + 2 * lanes, __builtin_shufflevector(front, back, 1, 5, 3, 7));
#else
  emit(offset, __builtin_shufflevector(front, back, 0, 2));
  emit(offset + 2 * lanes, __builtin_shufflevector(front, back, 1, 3));
#endif
}

struct PhiloxKeys {
  unsigned long long key[philox::rounds][2];  // of each round
  std::uint32_t call[2];
};

NORMDROP_INLINE PhiloxKeys philox_keys(std::uint64_t seed, std::uint64_t call) {
  PhiloxKeys keys;
  auto key_0 = static_cast<std::uint32_t>(seed);
  auto key_1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < philox::rounds; ++round) {
    keys.key[round][0] = key_0;
    keys.key[round][1] = key_1;
    key_0 += philox::weyl_0;
    key_1 += philox::weyl_1;
  }
  keys.call[0] = static_cast<std::uint32_t>(call);
  keys.call[1] = static_cast<std::uint32_t>(call >> 32);
  return keys;
}

// What the blocks of one high index word have in common after the first rounds.
struct PhiloxCommon {
  unsigned long long xor_0;  // of round 0: into word 2
  unsigned long long xor_1;  // of round 1: into word 0
  unsigned long long xor_2;  // into word 2
  unsigned long long xor_3;  // of round 2: into word 2
};

NORMDROP_INLINE PhiloxCommon philox_common(std::uint32_t high_index, const PhiloxKeys& keys) {
  const std::uint64_t product_1 = std::uint64_t{philox::multiplier_1} * keys.call[0];
  const std::uint64_t word_0 = (product_1 >> 32) ^ high_index ^ keys.key[0][0];
  const std::uint64_t product_0 = std::uint64_t{philox::multiplier_0} * word_0;
  return {keys.call[1] ^ keys.key[0][1], (product_1 & low_half) ^ keys.key[1][0],
          (product_0 >> 32) ^ keys.key[1][1], (product_0 & low_half) ^ keys.key[2][1]};
}

// Words of blocks first, first + 1, ..., vectors * lanes of them, all of one high index word.
template <int vectors, class Emit>
NORMDROP_INLINE void philox_vectors(std::uint32_t first, const PhiloxKeys& keys,
                                    const PhiloxCommon& common, int offset, Emit&& emit) {
  const u64 m0 = splat_bits(philox::multiplier_0);
  const u64 m1 = splat_bits(philox::multiplier_1);
  const u64 products_of_lanes = block_of_lane() * philox::multiplier_0;
  u64 c0[vectors];
  u64 c1[vectors];
  u64 c2[vectors];
  u64 c3[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(v * lanes);
    const u64 round_0 = products_of_lanes + splat_bits(philox::multiplier_0 * index);
    const u64 round_1 = multiply_low_halves((round_0 >> 32) ^ splat_bits(common.xor_0), m1);
    const u64 round_2_0 = multiply_low_halves((round_1 >> 32) ^ splat_bits(common.xor_1), m0);
    const u64 round_2_1 = multiply_low_halves(round_0 ^ splat_bits(common.xor_2), m1);
    c0[v] = (round_2_1 >> 32) ^ round_1 ^ splat_bits(keys.key[2][0]);
    c1[v] = round_2_1;
    c2[v] = (round_2_0 >> 32) ^ splat_bits(common.xor_3);
    c3[v] = round_2_0;
  }
#pragma GCC unroll 10
  for (int round = 3; round < philox::rounds - 1; ++round) {
    const u64 k0 = splat_bits(keys.key[round][0]);
    const u64 k1 = splat_bits(keys.key[round][1]);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const u64 product_0 = multiply_low_halves(c0[v], m0);
      const u64 product_1 = multiply_low_halves(c2[v], m1);
      c0[v] = (product_1 >> 32) ^ c1[v] ^ k0;
      c1[v] = product_1;
      c2[v] = (product_0 >> 32) ^ c3[v] ^ k1;
      c3[v] = product_0;
    }
  }
  const u64 k0 = splat_bits(keys.key[philox::rounds - 1][0]);
  const u64 k1 = splat_bits(keys.key[philox::rounds - 1][1]);
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    const u64 product_0 = multiply_low_halves(c0[v], m0);
    const u64 product_1 = multiply_low_halves(c2[v], m1);
    emit_words(offset + v * 4 * lanes, last_words(product_1, c1[v], k0),
               last_words(product_0, c3[v], k1), emit);
  }
}

// words_at_once words from element `first`, a multiple of 4, by calls of emit(offset, vector) with
// 2 * lanes words each.
template <class Emit>
NORMDROP_INLINE void philox_words(std::uint64_t first, const PhiloxKeys& keys, Emit&& emit) {
  constexpr std::uint32_t blocks = words_at_once / 4;
  constexpr int vectors =
      lanes;  // hides the latency of a round within the registers that there are
  constexpr std::uint32_t step = vectors * lanes;
  const std::uint64_t index = first / 4;
  const auto low = static_cast<std::uint32_t>(index);
  const PhiloxCommon common = philox_common(static_cast<std::uint32_t>(index >> 32), keys);
  if (low <= ~std::uint32_t{0} - blocks) {
    for (std::uint32_t b = 0; b < blocks; b += step) {
      philox_vectors<vectors>(low + b, keys, common, static_cast<int>(4 * b), emit);
    }
    return;
  }
  // The low index word overflows on the way.
  alignas(64) std::uint32_t words[words_at_once];
  for (std::uint64_t b = 0; b < blocks; ++b) {
    const std::uint64_t i = index + b;
    const philox::Block block = philox::block(
        {{static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32), keys.call[0],
          keys.call[1]}},
        static_cast<std::uint32_t>(keys.key[0][0]), static_cast<std::uint32_t>(keys.key[0][1]));
    std::memcpy(words + 4 * b, block.word, sizeof block.word);
  }
  for (int k = 0; k < words_at_once; k += 2 * lanes) {
    u64 vector;
    std::memcpy(&vector, words + k, sizeof vector);
    emit(k, vector);
  }
}

// As above, into memory.
NORMDROP_INLINE void philox_words(std::uint64_t first, const PhiloxKeys& keys,
                                  std::uint32_t* words) {
  philox_words(first, keys, [&](int offset, u64 vector) NORMDROP_LAMBDA_INLINE {
    std::memcpy(words + offset, &vector, sizeof vector);
  });
}

}  // namespace normdrop::NORMDROP_ISA
