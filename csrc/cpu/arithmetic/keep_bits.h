// Which elements a dropout keeps, as bits: word(index) < threshold (ops/dropout.h), a few thousand
// elements at a time, so that a pass over a row asks for packs of them.
#pragma once

#include "cpu/arithmetic/philox_words.h"
#include "cpu/simd/simd_half.h"
#include "ops/dropout.h"

namespace normdrop::NORMDROP_ISA {

// Bit i: whether lane i of `words` is at most that of `limit`.
NORMDROP_INLINE unsigned at_most(u32 words, u32 limit) {
#if defined(__AVX512F__)
  return _mm512_cmple_epu32_mask((__m512i)words, (__m512i)limit);
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)(words <= limit)));
#else
  unsigned bits = 0;
  for (int lane = 0; lane < float_lanes; ++lane)
    bits |= unsigned{words[lane] <= limit[lane]} << lane;
  return bits;
#endif
}

// Lanes whose bit is 0 become 0, whatever they held.
NORMDROP_INLINE float_pack keep_by_bits(float_pack value, unsigned bits) {
#if defined(__AVX512F__)
  return {{_mm512_maskz_mov_ps(static_cast<__mmask16>(bits), value.part[0])}};
#else
  NORMDROP_EACH_FLOAT_PART {
    u32 bit;
    for (int lane = 0; lane < float_lanes; ++lane) bit[lane] = 1u << (p * float_lanes + lane);
    value.part[p] = ((bits - u32{}) & bit) != u32{} ? value.part[p] : f32{};
  }
  return value;
#endif
}

NORMDROP_INLINE pack keep_by_bits(pack value, unsigned bits) {
  NORMDROP_EACH_PART {
    i64 bit;
    for (int lane = 0; lane < lanes; ++lane) bit[lane] = 1ll << (p * lanes + lane);
    const i64 all = static_cast<long long>(bits) - i64{};
    value.part[p] = (all & bit) != i64{} ? value.part[p] : f64{};
  }
  return value;
}

class KeepBits {
 public:
  // As many elements as fit between two calls of the generator; 2 KiB of words leave as 256 bytes.
  static constexpr std::int64_t most_elements = 2048;

  explicit KeepBits(const DropoutDraw& draw)
      : keys_(philox_keys(draw.seed, draw.call)), threshold_(draw.threshold) {}

  // Makes sure that the bits of `count` elements (at most most_elements) from `index` on are there,
  // and says where: element index + i has bit position + i. Where they are made, those up to `end`
  // are made with them, as many as there is room for.
  NORMDROP_LAMBDA_INLINE std::int64_t cover(std::uint64_t index, std::int64_t count,
                                            std::uint64_t end) {
    if (index < first_ || index + static_cast<std::uint64_t>(count) > end_) {
      const std::uint64_t room = most_elements;
      make(index, end - index < room ? static_cast<std::int64_t>(end - index)
                                     : static_cast<std::int64_t>(room));
    }
    return static_cast<std::int64_t>(index - first_);
  }

  // The bits from a position on, 16 of them below.
  const unsigned char* bytes() const { return bytes_; }

 private:
  __attribute__((noinline)) void make(std::uint64_t index, std::int64_t count) {
    first_ = index / 4 * 4;
    end_ = index + static_cast<std::uint64_t>(count);
    if (threshold_ == 0 || threshold_ > 0xFFFFFFFFull) {
      std::memset(bytes_, threshold_ == 0 ? 0 : 0xFF, sizeof bytes_);
      return;
    }
    const u32 limit = static_cast<std::uint32_t>(threshold_ - 1) - u32{};
    unsigned char* target = bytes_;
    for (std::uint64_t i = first_; i < end_; i += words_at_once, target += words_at_once / 8) {
      unsigned char* const bytes = target;
      philox_words(i, keys_, [&](int offset, u64 words) NORMDROP_LAMBDA_INLINE {
        put(bytes, offset, at_most(reinterpret_cast<u32>(words), limit));
      });
    }
  }

  // A vector of words is 4, 8 or 16 bits.
  NORMDROP_LAMBDA_INLINE static void put(unsigned char* bytes, int offset, unsigned bits) {
    if constexpr (float_lanes == 16) {
      const auto both = static_cast<std::uint16_t>(bits);
      std::memcpy(bytes + offset / 8, &both, sizeof both);
    } else if constexpr (float_lanes == 8) {
      bytes[offset / 8] = static_cast<unsigned char>(bits);
    } else {
      const unsigned low = offset % 8 == 0 ? 0u : bytes[offset / 8];
      bytes[offset / 8] = static_cast<unsigned char>(low | bits << (offset % 8));
    }
  }

  PhiloxKeys keys_;
  std::uint64_t threshold_;
  std::uint64_t first_ = 0;
  std::uint64_t end_ = 0;  // behind the last element whose bit is there
  // The last of the words made may lie beyond the room, and a pack is read from 4 bytes.
  alignas(64) unsigned char bytes_[(most_elements + 2 * words_at_once) / 8];
};

// 16 of the bits, from a position on.
NORMDROP_INLINE unsigned bits_at(const unsigned char* bytes, std::int64_t position) {
  std::uint32_t four;
  std::memcpy(&four, bytes + position / 8, sizeof four);  // little-endian, as every machine here
  return four >> (position % 8) & 0xFFFFu;
}

}  // namespace normdrop::NORMDROP_ISA
