// Launches, the limits of the current device and the scratch memory of kernels, from the host's
// side.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

namespace normdrop::NORMDROP_DEVICE {

struct LaunchDims {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  unsigned cluster = 1;
};

struct DeviceLimits {
  int multiprocessors;
  int shared_bytes_per_block;  // what a kernel may ask for at launch
  bool clusters;
  int largest_cluster;
};

// Of the current device; asked from the driver once.
const DeviceLimits& device_limits();

// Scratch memory for what is launched on `stream` next, kept and used again.
void* workspace(std::int64_t bytes, void* stream);

namespace runtime {

// All of launch() that does not depend on the kernel's type.
void launch_untyped(const char* name, const void* kernel, const LaunchDims& dims, void* stream,
                    void** arguments);

}  // namespace runtime

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const LaunchDims& dims, void* stream,
            A... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel takes all of its arguments");
  const auto with_parameters = [&](P... parameters) {
    void* addresses[] = {static_cast<void*>(&parameters)..., nullptr};
    runtime::launch_untyped(name, reinterpret_cast<const void*>(kernel), dims, stream, addresses);
  };
  with_parameters(static_cast<P>(arguments)...);
}

}  // namespace normdrop::NORMDROP_DEVICE
