// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
// One block of four 32-bit words from a 128-bit counter and a 64-bit key.
#pragma once

#include <cstdint>

namespace normdrop::philox {

inline constexpr std::uint32_t multiplier_0 = 0xD2511F53u;
inline constexpr std::uint32_t multiplier_1 = 0xCD9E8D57u;
inline constexpr std::uint32_t weyl_0 = 0x9E3779B9u;  // added to the key between rounds
inline constexpr std::uint32_t weyl_1 = 0xBB67AE85u;
inline constexpr int rounds = 10;

struct Block {
  std::uint32_t word[4];
};

// Of every round.
struct Keys {
  std::uint32_t key[rounds][2];
};

static constexpr Block round_of(const Block& c, std::uint32_t key_0, std::uint32_t key_1) {
  const std::uint64_t product_0 = static_cast<std::uint64_t>(multiplier_0) * c.word[0];
  const std::uint64_t product_1 = static_cast<std::uint64_t>(multiplier_1) * c.word[2];
  return {{static_cast<std::uint32_t>(product_1 >> 32) ^ c.word[1] ^ key_0,
           static_cast<std::uint32_t>(product_1),
           static_cast<std::uint32_t>(product_0 >> 32) ^ c.word[3] ^ key_1,
           static_cast<std::uint32_t>(product_0)}};
}

static constexpr Block block(Block counter, std::uint32_t key_0, std::uint32_t key_1) {
  for (int round = 0; round < rounds; ++round) {
    counter = round_of(counter, key_0, key_1);
    key_0 += weyl_0;
    key_1 += weyl_1;
  }
  return counter;
}

static constexpr Block block(Block counter, const Keys& keys) {
  for (int round = 0; round < rounds; ++round) {
    counter = round_of(counter, keys.key[round][0], keys.key[round][1]);
  }
  return counter;
}

}  // namespace normdrop::philox
