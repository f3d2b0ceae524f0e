// Launches, their dimensions and the scratch memory of kernels, from the host's side.
#pragma once

#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>

#include "cuda/emulation/device_limits.h"
#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {

// Checks the dimensions now; runs the kernel now or when the stream comes to it.
void submit(const char* name, const LaunchDims& dims, void* stream, std::function<void()> kernel);

}  // namespace emulation

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const LaunchDims& dims, void* stream,
            A... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a kernel takes all of its arguments");
  static_assert((std::is_trivially_copyable_v<P> && ...), "arguments are copied to the device");
  emulation::submit(name, dims, stream,
                    [kernel, parameters = std::tuple<P...>(static_cast<P>(arguments)...)] {
    std::apply(kernel, parameters);
  });
}

// Scratch memory for what is launched on `stream` next. Its bytes are 0xFF.
void* workspace(std::int64_t bytes, void* stream);

}  // namespace normdrop::NORMDROP_DEVICE
