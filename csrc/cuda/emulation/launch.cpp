#include "cuda/emulation/launch.h"

#include <mutex>
#include <string>
#include <utility>

#include "cuda/emulation/device_memory.h"
#include "cuda/emulation/streams.h"
#include "cuda/emulation/words.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {
namespace {

constexpr unsigned most_threads = 1024;
constexpr unsigned most_threads_z = 64;
constexpr unsigned most_blocks_x = 0x7FFFFFFFu;
constexpr unsigned most_blocks_yz = 65535;

DeviceLimits limits{132, 232448 - 1024, true, 16};

std::string described(const dim3& dims) {
  return "(" + std::to_string(dims.x) + ", " + std::to_string(dims.y) + ", " +
         std::to_string(dims.z) + ")";
}

bool within(const dim3& dims, unsigned x, unsigned y, unsigned z) {
  return dims.x >= 1 && dims.x <= x && dims.y >= 1 && dims.y <= y && dims.z >= 1 && dims.z <= z;
}

void check_cluster(const std::string& prefix, const LaunchDims& dims) {
  const unsigned largest = limits.clusters ? static_cast<unsigned>(limits.largest_cluster) : 1;
  if (dims.cluster < 1 || dims.cluster > largest) {
    throw DeviceError(prefix + "a cluster must have 1 to " + std::to_string(largest) +
                      " blocks, got " + std::to_string(dims.cluster));
  }
  if (dims.grid.x % dims.cluster != 0) {
    throw DeviceError(prefix + "grid.x must be a multiple of the cluster of " +
                      std::to_string(dims.cluster) + " blocks, got " + std::to_string(dims.grid.x));
  }
}

}  // namespace

void check_dims(const char* name, const LaunchDims& dims) {
  const std::string prefix = std::string(name) + ": the launch failed: ";
  if (!within(dims.grid, most_blocks_x, most_blocks_yz, most_blocks_yz)) {
    throw DeviceError(prefix + "grid must be within (1, 1, 1) and " +
                      described(dim3(most_blocks_x, most_blocks_yz, most_blocks_yz)) + ", got " +
                      described(dims.grid));
  }
  if (!within(dims.block, most_threads, most_threads, most_threads_z) ||
      dims.block.x * dims.block.y * dims.block.z > most_threads) {
    throw DeviceError(prefix + "a block must have 1 to 1024 threads, at most 64 along z, got " +
                      described(dims.block));
  }
  if (dims.shared_bytes > static_cast<std::size_t>(limits.shared_bytes_per_block)) {
    throw DeviceError(prefix + "a block has at most " +
                      std::to_string(limits.shared_bytes_per_block) +
                      " bytes of shared memory, got " + std::to_string(dims.shared_bytes));
  }
  check_cluster(prefix, dims);
}

void set_limits(const DeviceLimits& value) { limits = value; }

void submit(const char* name, const LaunchDims& dims, void* stream, std::function<void()> kernel) {
  check_dims(name, dims);
  enqueue(stream, [name = std::string(name), dims, kernel = std::move(kernel)] {
    Launch(name.c_str(), dims, kernel).run();
  });
}

void misaligned(const void* address, unsigned bytes, const Site& site) {
  running_launch().fail("an access of " + std::to_string(bytes) + " bytes at " + described(site) +
                        " to an address that is " +
                        std::to_string(reinterpret_cast<std::uintptr_t>(address) % bytes) +
                        " bytes beyond a multiple of them");
}

}  // namespace emulation

const DeviceLimits& device_limits() { return emulation::limits; }

}  // namespace normdrop::NORMDROP_DEVICE
