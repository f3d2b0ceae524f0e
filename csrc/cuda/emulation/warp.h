// Shuffles, votes and __syncwarp. Values pass through as 64 bits; the last lane to arrive works
// out what every lane gets.
#pragma once

#include <bit>
#include <cstdint>

#include "cuda/emulation/thread_state.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {

// What the running thread gets from its warp.
std::uint64_t warp_operation(const char* function, const WarpRequest& request, const Site& site);

template <class T>
std::uint64_t to_word(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
  if constexpr (sizeof(T) == 4) {
    return std::bit_cast<std::uint32_t>(value);
  } else {
    return std::bit_cast<std::uint64_t>(value);
  }
}

template <class T>
T from_word(std::uint64_t word) {
  if constexpr (sizeof(T) == 4) {
    return std::bit_cast<T>(static_cast<std::uint32_t>(word));
  } else {
    return std::bit_cast<T>(word);
  }
}

}  // namespace emulation

template <class T>
T __shfl_sync(std::uint32_t mask, T value, int lane, int width = 32,
              emulation::Site site = emulation::Site::current()) {
  using enum emulation::WarpRequest::Kind;
  return emulation::from_word<T>(emulation::warp_operation(
      "__shfl_sync", {shuffle, mask, emulation::to_word(value), lane, width}, site));
}

template <class T>
T __shfl_up_sync(std::uint32_t mask, T value, int distance, int width = 32,
                 emulation::Site site = emulation::Site::current()) {
  using enum emulation::WarpRequest::Kind;
  return emulation::from_word<T>(emulation::warp_operation(
      "__shfl_up_sync", {shuffle_up, mask, emulation::to_word(value), distance, width}, site));
}

template <class T>
T __shfl_down_sync(std::uint32_t mask, T value, int distance, int width = 32,
                   emulation::Site site = emulation::Site::current()) {
  using enum emulation::WarpRequest::Kind;
  return emulation::from_word<T>(emulation::warp_operation(
      "__shfl_down_sync", {shuffle_down, mask, emulation::to_word(value), distance, width}, site));
}

template <class T>
T __shfl_xor_sync(std::uint32_t mask, T value, int lane_mask, int width = 32,
                  emulation::Site site = emulation::Site::current()) {
  using enum emulation::WarpRequest::Kind;
  return emulation::from_word<T>(emulation::warp_operation(
      "__shfl_xor_sync", {shuffle_xor, mask, emulation::to_word(value), lane_mask, width}, site));
}

std::uint32_t __ballot_sync(std::uint32_t mask, int predicate,
                            emulation::Site site = emulation::Site::current());
int __any_sync(std::uint32_t mask, int predicate,
               emulation::Site site = emulation::Site::current());
int __all_sync(std::uint32_t mask, int predicate,
               emulation::Site site = emulation::Site::current());
void __syncwarp(std::uint32_t mask = 0xFFFFFFFFu,
                emulation::Site site = emulation::Site::current());

}  // namespace normdrop::NORMDROP_DEVICE
