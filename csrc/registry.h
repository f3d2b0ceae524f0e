// The backends of this build and which of them this machine can run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/device.h"
#include "ops/operations.h"

namespace normdrop {

struct Backend {
  const char* name;
  const OpTable* table;
  // Why this machine cannot run it; empty where it can. Asked when somebody wants to know and never
  // at import: the answer may wake the driver of a device.
  std::string (*unusable_reason)();
  const DeviceTable* device;  // null where the backend works in the host's memory

  bool usable() const { return unusable_reason().empty(); }
};

// All backends of this build: devices, then the instruction sets of the CPU, each fastest first,
// and last what is only there for tests. The list never changes.
const std::vector<Backend>& built_backends();

// What adds the CUDA backend to a build without it, in the folder of the sources.
inline constexpr const char* add_cuda_command =
    "pip install --force-reinstall --no-deps . -C cmake.define.NORMDROP_CUDA=ON";

// Null where no backend of that name was built.
const Backend* find_backend(std::string_view name);

}  // namespace normdrop
