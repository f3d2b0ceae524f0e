// In which order the threads of a launch run where CUDA leaves it open. Whichever thread stands
// first and can run goes on until it has to wait: this lets one warp run far ahead of the others,
// which is what shows a missing barrier.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace normdrop::NORMDROP_DEVICE::emulation {

struct Order {
  enum class Kind { forward, reverse, priority };
  Kind kind = Kind::forward;
  std::uint64_t seed = 0;  // of Kind::priority

  // Position `i` of `count` blocks: which of them starts i-th.
  std::uint64_t nth(std::uint64_t i, std::uint64_t count) const;
  // The rank of each of `count` warps; the warp of the lowest rank that can run goes.
  std::vector<unsigned> ranks(unsigned count) const;
  // Which of the lanes in `runnable` (never 0) goes, in the warp of that rank.
  unsigned lane(std::uint32_t runnable, unsigned rank) const;
};

// "forward", "reverse" or "priority:SEED"; throws DeviceError for anything else.
Order parse_order(const std::string& text);

// Of every launch from now on. At first what the environment's NORMDROP_EMULATION_ORDER says.
void set_order(const Order& order);
const Order& order();

}  // namespace normdrop::NORMDROP_DEVICE::emulation
