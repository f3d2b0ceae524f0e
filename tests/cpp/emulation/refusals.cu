// Programs that CUDA does not define or does not start. Each must end in an error that says what is
// wrong, in every order, and leave the emulation fit for the next launch.
#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

constexpr int length = 40;

__global__ void write_static_array(int at) {
  SHARED_ARRAY(int, before, length);
  SHARED_ARRAY(int, row, length);
  before[0] = 0;
  row[at] = 1;
}

__global__ void write_dynamic_array(int at) { dynamic_shared<int>()[at] = 1; }

__global__ void take_too_much_shared_memory() {
  SHARED_ARRAY(float, huge, 13 * 1024);
  huge[0] = 0;
}

__global__ void shuffle_with(std::uint32_t mask, int width) { __shfl_xor_sync(mask, 1, 1, width); }

__global__ void shuffle_after_some_returned() {
  if (threadIdx.x >= 16) return;
  __shfl_xor_sync(0xFFFFFFFFu, 1, 1);
}

__global__ void shuffle_and_vote() {
  if (threadIdx.x < 16) {
    __shfl_xor_sync(0xFFFFFFFFu, 1, 1);
  } else {
    __any_sync(0xFFFFFFFFu, 1);
  }
}

__global__ void two_masks() { __ballot_sync(threadIdx.x < 16 ? 0xFFFFFFFFu : 0xFFFFFFFEu, 1); }

__global__ void two_barriers() {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void barrier_after_some_returned() {
  if (threadIdx.x >= 32) return;
  __syncthreads();
}

__global__ void barrier_and_vote() {
  if (threadIdx.x < 16) __syncthreads();
  __ballot_sync(0xFFFFFFFFu, 1);
}

__global__ void barrier_of_one_block() {
  if (cluster_rank() == 0) cluster_sync();
}

__global__ void load_misaligned(const unsigned char* bytes) { load_word<uint4>(bytes + 8); }

__global__ void look_into_block(unsigned rank) {
  SHARED_ARRAY(int, row, length);
  cluster_address(&row[0], rank);
}

__global__ void look_into_no_shared_memory(int* global) { cluster_address(global, 0); }

__global__ void write_one(int* out) {
  __syncthreads();
  if (threadIdx.x == 0) *out = 1;
}

void require_healthy() {
  int out = 0;
  launch("write_one", write_one, {.grid = dim3(1), .block = dim3(64)}, nullptr, &out);
  require(out == 1, "the launch after the error gave nothing");
}

template <class... P, class... A>
Case refused(const std::string& name, const std::string& fragment, const LaunchDims& dims,
             void (*kernel)(P...), A... arguments) {
  return {"wrong/" + name, [=] {
    in_every_order([&] {
      require_error([&] { launch(name.c_str(), kernel, dims, nullptr, arguments...); },
                    name + ": ");
      require_error([&] { launch(name.c_str(), kernel, dims, nullptr, arguments...); }, fragment);
      require_healthy();
    });
  }};
}

LaunchDims one_block(unsigned threads, std::size_t shared_bytes = 0) {
  return {.grid = dim3(1), .block = dim3(threads), .shared_bytes = shared_bytes};
}

std::vector<Case> memory_refusals() {
  static const unsigned char bytes[32] = {};
  static int global = 0;
  const LaunchDims two{.grid = dim3(2), .block = dim3(32), .cluster = 2};
  return {
      refused("overrun/behind", "4 bytes close behind the shared array 'row' of 160 bytes",
              one_block(1), write_static_array, length),
      refused("overrun/before", "4 bytes close before the shared array 'row'", one_block(1),
              write_static_array, -1),
      refused("overrun/far", "close behind the shared array 'row'", one_block(1),
              write_static_array, 20 * length),
      refused("overrun/dynamic", "overrun/dynamic: block (0, 0, 0): 4 bytes close behind",
              one_block(1, 64), write_dynamic_array, 16),
      refused("overrun/no_dynamic", "'dynamic_shared' of 0 bytes", one_block(1),
              write_dynamic_array, 0),
      refused("too_much_shared_memory", "with 'huge' a block has 53248 bytes in shared arrays",
              one_block(32), take_too_much_shared_memory),
      refused("misaligned", "an access of 16 bytes at refusals.cu:", one_block(1), load_misaligned,
              static_cast<const unsigned char*>(bytes)),
      refused("cluster_address/rank", "rank must be below 2, got 2", two, look_into_block, 2u),
      refused("cluster_address/global", "must be shared memory of the calling block", two,
              look_into_no_shared_memory, &global),
  };
}

std::vector<Case> divergence_refusals() {
  const LaunchDims two{.grid = dim3(2), .block = dim3(32), .cluster = 2};
  return {
      refused("mask/without_caller", "mask 0x00000001: the mask leaves out the calling lane 1",
              one_block(2), shuffle_with, 1u, 32),
      refused("mask/beyond_block", "the mask names lanes beyond the block", one_block(16),
              shuffle_with, 0xFFFFFFFFu, 32),
      refused("mask/width", "width must be a power of two to 32, got 12", one_block(32),
              shuffle_with, 0xFFFFFFFFu, 12),
      refused("mask/returned", "returned from the kernel", one_block(32),
              shuffle_after_some_returned),
      refused("mask/two_operations", "waits for this lane in __", one_block(32), shuffle_and_vote),
      refused("mask/two_masks", "waits for this lane in __ballot_sync", one_block(32), two_masks),
      refused("barrier/two", "others wait at another barrier, __syncthreads at refusals.cu:",
              one_block(32), two_barriers),
      refused("barrier/returned", "returned from the kernel", one_block(64),
              barrier_after_some_returned),
      refused("barrier/cluster", "returned from the kernel", two, barrier_of_one_block),
      refused("deadlock/barrier", "16 wait at __syncthreads at refusals.cu:", one_block(32),
              barrier_and_vote),
      refused("deadlock/vote", "no thread can go on: 16 wait at __ballot_sync at refusals.cu:",
              one_block(32), barrier_and_vote),
  };
}

Case refused_dims(const std::string& name, const LaunchDims& dims, const std::string& fragment) {
  return refused("launch/" + name, "launch failed: " + fragment, dims, barrier_and_vote);
}

std::vector<Case> launch_refusals() {
  const dim3 one(1);
  return {
      refused_dims("grid_y", {dim3(1, 65536), one}, "grid must be within"),
      refused_dims("grid_z", {dim3(1, 1, 65536), one}, "grid must be within"),
      refused_dims("grid_x", {dim3(0x80000000u), one}, "grid must be within"),
      refused_dims("no_blocks", {dim3(0), one}, "grid must be within"),
      refused_dims("no_threads", {one, dim3(0)}, "a block must have 1 to 1024 threads"),
      refused_dims("block", {one, dim3(32, 33)}, "a block must have 1 to 1024 threads"),
      refused_dims("block_z", {one, dim3(1, 1, 65)}, "a block must have 1 to 1024 threads"),
      refused_dims("shared", {one, one, 300000}, "a block has at most 231424 bytes"),
      refused_dims("no_cluster", {one, one, 0, 0}, "a cluster must have 1 to 16 blocks, got 0"),
      refused_dims("cluster", {dim3(32), one, 0, 32}, "a cluster must have 1 to 16 blocks, got 32"),
      refused_dims("divisible", {dim3(6), one, 0, 4}, "grid.x must be a multiple of the cluster"),
  };
}

void older_card_has_no_clusters() {
  const DeviceLimits limits = device_limits();
  emulation::set_limits({40, 64 * 1024, false, 1});
  const std::string text = error_of([] {
    launch("barrier_of_one_block", barrier_of_one_block, {dim3(2), dim3(32), 0, 2}, nullptr);
  });
  emulation::set_limits(limits);
  require(text.find("a cluster must have 1 to 1 blocks, got 2") != std::string::npos, text);
}

void order_is_checked() {
  using emulation::parse_order;
  for (const char* text : {"", "backward", "priority:", "priority:x", "priority:1x"}) {
    require_error([&] { parse_order(text); }, "must be forward, reverse or priority:SEED, got '");
  }
}

}  // namespace

std::vector<Case> refusal_cases() {
  std::vector<Case> all = {{"wrong/launch/older_card", older_card_has_no_clusters},
                           {"wrong/order", order_is_checked}};
  for (auto* cases : {memory_refusals, divergence_refusals, launch_refusals}) {
    for (Case& one : cases()) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
