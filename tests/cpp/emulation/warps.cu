// Warp operations of parts of a warp, in programs that CUDA defines.
#include <vector>

#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

__device__ std::uint32_t mask_of(int first, int lanes) {
  return (0xFFFFFFFFu >> (32 - lanes)) << first;
}

template <class T>
__device__ T sum_of_group(std::uint32_t mask, T value, int width) {
  for (int distance = width / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(mask, value, distance, width);
  }
  return value;
}

// Groups of `width` lanes, each with its own mask and its own number of rounds.
__global__ void groups_at_their_own_pace(double* out, int width) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int group = lane / width;
  const std::uint32_t mask = mask_of(group * width, width);
  double value = lane;
  for (int round = 0; round <= group; ++round) value = sum_of_group(mask, value, width);
  __syncwarp(mask);
  out[threadIdx.x] = value;
}

void check_groups(int width) {
  std::vector<double> out(64, -1);
  launch("groups_at_their_own_pace", groups_at_their_own_pace, {dim3(1), dim3(64)}, nullptr,
         out.data(), width);
  for (int i = 0; i < 64; ++i) {
    const int group = i % 32 / width;
    double expected = width * (group * width) + width * (width - 1) / 2;
    for (int round = 0; round < group; ++round) expected *= width;
    require(out[i] == expected, "lane " + std::to_string(i) + " of groups of " +
                                    std::to_string(width) + ": " + std::to_string(out[i]));
  }
}

// Lanes 0 to 7 shuffle, 8 to 15 vote, the rest have returned or never existed.
__global__ void first_lanes_go_on(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  if (lane >= 16) return;
  if (lane < 8) {
    out[lane] = sum_of_group(0xFFu, lane, 8);
  } else {
    out[lane] = static_cast<int>(__ballot_sync(0xFF00u, lane % 2));
  }
}

void check_first_lanes(unsigned threads) {
  std::vector<int> out(16, -1);
  launch("first_lanes_go_on", first_lanes_go_on, {dim3(1), dim3(threads)}, nullptr, out.data());
  for (int i = 0; i < 16; ++i) {
    const bool exists = i < static_cast<int>(threads);
    require(out[i] == (!exists ? -1 : i < 8 ? 28 : 0xAA00), "lane " + std::to_string(i));
  }
}

__global__ void read_lane_outside_mask(std::uint32_t* out) {
  if (threadIdx.x < 4) out[threadIdx.x] = __shfl_down_sync(0xFu, threadIdx.x, 2);
}

void check_undefined_value() {
  std::uint32_t out[4] = {};
  launch("read_lane_outside_mask", read_lane_outside_mask, {dim3(1), dim3(32)}, nullptr, &out[0]);
  require(out[0] == 2 && out[1] == 3, "lanes of the mask");
  require(out[2] == 0xFFFFFFFFu && out[3] == 0xFFFFFFFFu, "lanes outside must read as poison");
}

__global__ void one_warp_leaves_early(int* out) {
  if (threadIdx.x < 32) return;
  out[threadIdx.x] = __all_sync(0xFFFFFFFFu, 1) + __any_sync(0xFFFFFFFFu, threadIdx.x == 40);
}

void check_early_warp() {
  std::vector<int> out(96, 0);
  launch("one_warp_leaves_early", one_warp_leaves_early, {dim3(1), dim3(96)}, nullptr, out.data());
  for (int i = 0; i < 96; ++i) {
    require(out[i] == (i < 32 ? 0 : i < 64 ? 2 : 1), "thread " + std::to_string(i));
  }
}

}  // namespace

std::vector<Case> warp_cases() {
  std::vector<Case> cases = {
      {"right/warp/undefined", [] { in_every_order(check_undefined_value); }},
      {"right/warp/early", [] { in_every_order(check_early_warp); }}};
  for (int width : {1, 2, 4, 8, 16, 32}) {
    cases.push_back({"right/warp/groups_of_" + std::to_string(width),
                     [=] { in_every_order([=] { check_groups(width); }); }});
  }
  for (unsigned threads : {8u, 16u, 32u, 40u}) {
    cases.push_back({"right/warp/first_lanes_of_" + std::to_string(threads),
                     [=] { in_every_order([=] { check_first_lanes(threads); }); }});
  }
  return cases;
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
