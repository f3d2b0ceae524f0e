#include "cuda/emulation/order.h"

#include <bit>
#include <charconv>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <utility>

#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

// splitmix64 (Steele, Lea, Flood 2014)
std::uint64_t scrambled(std::uint64_t state) {
  state += 0x9E3779B97F4A7C15u;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
  return state ^ (state >> 31);
}

std::optional<Order>& chosen() {
  static std::optional<Order> order;
  return order;
}

}  // namespace

std::uint64_t Order::nth(std::uint64_t i, std::uint64_t count) const {
  if (kind == Kind::forward) return i;
  if (kind == Kind::reverse) return count - 1 - i;
  std::uint64_t step = scrambled(seed) % count + 1;
  while (std::gcd(step, count) != 1) ++step;  // then the multiples of step meet every block once
  const std::uint64_t first = scrambled(seed + 1) % count;
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(i) * step + first) % count);
}

std::vector<unsigned> Order::ranks(unsigned count) const {
  std::vector<unsigned> rank(count);
  std::iota(rank.begin(), rank.end(), 0u);
  if (kind == Kind::reverse) {
    for (unsigned& r : rank) r = count - 1 - r;
  } else if (kind == Kind::priority) {
    for (unsigned i = count; i > 1; --i) {
      std::swap(rank[i - 1], rank[scrambled(seed ^ (std::uint64_t{i} << 32)) % i]);
    }
  }
  return rank;
}

unsigned Order::lane(std::uint32_t runnable, unsigned rank) const {
  if (kind == Kind::forward) return static_cast<unsigned>(std::countr_zero(runnable));
  if (kind == Kind::reverse) return 31u - static_cast<unsigned>(std::countl_zero(runnable));
  const std::uint64_t draw = scrambled(seed + 2 + rank);
  const unsigned first = draw & 31u;
  const std::uint32_t turned = std::rotr(runnable, static_cast<int>(first));
  const auto nearest =
      static_cast<unsigned>(draw & 32u ? 31 - std::countl_zero(turned) : std::countr_zero(turned));
  return (nearest + first) & 31u;
}

Order parse_order(const std::string& text) {
  if (text == "forward") return {};
  if (text == "reverse") return {Order::Kind::reverse, 0};
  const std::string prefix = "priority:";
  if (text.starts_with(prefix)) {
    std::uint64_t seed = 0;
    const char* end = text.data() + text.size();
    const auto result = std::from_chars(text.data() + prefix.size(), end, seed);
    if (result.ec == std::errc() && result.ptr == end) return {Order::Kind::priority, seed};
  }
  throw DeviceError("NORMDROP_EMULATION_ORDER must be forward, reverse or priority:SEED, got '" +
                    text + "'");
}

void set_order(const Order& order) { chosen() = order; }

const Order& order() {
  if (!chosen()) {
    const char* text = std::getenv("NORMDROP_EMULATION_ORDER");
    chosen() = text != nullptr ? parse_order(text) : Order{};
  }
  return *chosen();
}

}  // namespace normdrop::NORMDROP_DEVICE::emulation
