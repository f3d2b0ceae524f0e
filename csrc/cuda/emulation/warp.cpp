#include "cuda/emulation/warp.h"

#include <string>

#include "cuda/emulation/sanitizer.h"
#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {
namespace {

using Kind = WarpRequest::Kind;

constexpr std::uint64_t undefined = ~std::uint64_t{0};  // what a shuffle from nobody yields

std::string hexadecimal(std::uint32_t mask) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += digits[mask >> shift & 15u];
  return text;
}

[[noreturn]] void refuse(const char* function, const WarpRequest& request, const Site& site,
                         const std::string& text) {
  running_launch().fail(std::string(function) + " at " + described(site) + " with mask " +
                        hexadecimal(request.mask) + ": " + text);
}

void check_request(const char* function, const WarpRequest& request, const Site& site) {
  const Thread& self = running_launch().thread();
  const Warp& warp = *self.warp;
  if ((request.mask >> self.lane & 1u) == 0) {
    refuse(function, request, site,
           "the mask leaves out the calling lane " + std::to_string(self.lane));
  }
  if ((request.mask & ~warp.existing) != 0) {
    refuse(function, request, site,
           "the mask names lanes beyond the block; those of this warp are " +
               hexadecimal(warp.existing));
  }
  if (const std::uint32_t gone = request.mask & warp.returned) {
    refuse(function, request, site,
           "the mask names lanes that have returned from the kernel, " + hexadecimal(gone));
  }
  const int width = request.width;
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    refuse(function, request, site,
           "width must be a power of two to 32, got " + std::to_string(width));
  }
}

// A lane of the mask that waits for the calling lane, but in another operation.
void check_agreement(const char* function, const WarpRequest& request, const Site& site) {
  const Thread& self = running_launch().thread();
  const Warp& warp = *self.warp;
  for (std::uint32_t rest = request.mask & warp.requesting; rest != 0; rest &= rest - 1) {
    const Thread& other = warp.threads[std::countr_zero(rest)];
    if ((other.request.mask >> self.lane & 1u) == 0) continue;
    if (other.request.mask == request.mask && other.request.kind == request.kind) continue;
    refuse(function, request, site,
           "lane " + std::to_string(other.lane) + " waits for this lane in " + other.waits_at +
               " at " + described(other.site) + " with mask " + hexadecimal(other.request.mask));
  }
}

bool all_have_arrived(const Warp& warp, const WarpRequest& request) {
  if ((request.mask & ~warp.requesting) != 0) return false;
  for (std::uint32_t rest = request.mask; rest != 0; rest &= rest - 1) {
    const WarpRequest& other = warp.threads[std::countr_zero(rest)].request;
    if (other.mask != request.mask || other.kind != request.kind) return false;
  }
  return true;
}

// The lane from which `lane` reads.
int source_lane(int lane, const WarpRequest& request) {
  const int first = lane & ~(request.width - 1);
  const int last = first + request.width - 1;
  int source = lane;
  if (request.kind == Kind::shuffle) {
    return first + (request.parameter & (request.width - 1));
  }
  if (request.kind == Kind::shuffle_up) source = lane - request.parameter;
  if (request.kind == Kind::shuffle_down) source = lane + request.parameter;
  if (request.kind == Kind::shuffle_xor) source = lane ^ request.parameter;
  const bool outside = source > last || (request.kind != Kind::shuffle_xor && source < first);
  return outside || source < 0 ? lane : source;
}

bool is_vote(Kind kind) { return kind == Kind::ballot || kind == Kind::any || kind == Kind::all; }

std::uint64_t vote(const Warp& warp, const WarpRequest& request) {
  std::uint32_t ballot = 0;
  for (std::uint32_t rest = request.mask; rest != 0; rest &= rest - 1) {
    const auto lane = static_cast<unsigned>(std::countr_zero(rest));
    if (warp.threads[lane].request.value != 0) ballot |= 1u << lane;
  }
  if (request.kind == Kind::ballot) return ballot;
  return request.kind == Kind::any ? ballot != 0 : ballot == request.mask;
}

void complete(Warp& warp, const WarpRequest& request) {
  std::uint64_t given[lanes_per_warp];
  for (std::uint32_t rest = request.mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    given[lane] = warp.threads[lane].request.value;
  }
  const bool voting = is_vote(request.kind);
  const std::uint64_t result = voting ? vote(warp, request) : 0;
  for (std::uint32_t rest = request.mask; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    WarpRequest& other = warp.threads[lane].request;
    const int source = source_lane(lane, other);
    const bool defined = (request.mask >> source & 1u) != 0;
    other.value = voting ? result : defined ? given[source] : undefined;
  }
  warp.requesting &= ~request.mask;
  if (request.kind == Kind::synchronise) ++warp.group_turn[std::countr_zero(request.mask)];
}

}  // namespace

std::uint64_t warp_operation(const char* function, const WarpRequest& request, const Site& site) {
  Launch& launch = running_launch();
  check_request(function, request, site);
  check_agreement(function, request, site);
  Thread& self = launch.thread();
  Warp& warp = *self.warp;
  self.request = request;
  warp.requesting |= 1u << self.lane;
  if (!all_have_arrived(warp, request)) {
    launch.wait(function, site);
    return self.request.value;
  }
  complete(warp, request);
  for (std::uint32_t rest = request.mask; rest != 0; rest &= rest - 1) {
    launch.wake(warp.threads[std::countr_zero(rest)]);
  }
  launch.give_way();
  return self.request.value;
}

}  // namespace emulation

std::uint32_t __ballot_sync(std::uint32_t mask, int predicate, emulation::Site site) {
  using enum emulation::WarpRequest::Kind;
  return static_cast<std::uint32_t>(
      emulation::warp_operation("__ballot_sync", {ballot, mask, predicate != 0}, site));
}

int __any_sync(std::uint32_t mask, int predicate, emulation::Site site) {
  using enum emulation::WarpRequest::Kind;
  return static_cast<int>(
      emulation::warp_operation("__any_sync", {any, mask, predicate != 0}, site));
}

int __all_sync(std::uint32_t mask, int predicate, emulation::Site site) {
  using enum emulation::WarpRequest::Kind;
  return static_cast<int>(
      emulation::warp_operation("__all_sync", {all, mask, predicate != 0}, site));
}

// Groups that share their first lane follow one upon another, so they take turns with two
// variables, as barriers do.
void __syncwarp(std::uint32_t mask, emulation::Site site) {
  using namespace emulation;
  Warp& warp = *running_launch().thread().warp;
  const int first = std::countr_zero(mask | 0x80000000u);
  char* order = &warp.group_order[first][warp.group_turn[first] & 1u];
  sanitizer::release(order);
  warp_operation("__syncwarp", {WarpRequest::Kind::synchronise, mask}, site);
  sanitizer::acquire(order);
}

}  // namespace normdrop::NORMDROP_DEVICE
