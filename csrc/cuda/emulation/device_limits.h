// What the emulated device offers.
#pragma once

namespace normdrop::NORMDROP_DEVICE {

struct DeviceLimits {
  int multiprocessors;
  int shared_bytes_per_block;
  bool clusters;
  int largest_cluster;
};

const DeviceLimits& device_limits();

namespace emulation {

// At first those of an H200. Others show what a kernel does on another card.
void set_limits(const DeviceLimits& limits);

}  // namespace emulation
}  // namespace normdrop::NORMDROP_DEVICE
