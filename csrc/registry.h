// The backends of this build and which of them this machine can run.
#pragma once

#include <string_view>
#include <vector>

#include "ops/device.h"
#include "ops/op_table.h"

namespace normdrop {

struct Backend {
  const char* name;
  const OpTable* table;
  bool usable;
  const char* needs;          // what a machine must offer, for the message where it does not
  const DeviceTable* device;  // null where the backend works in the host's memory
};

// All backends of this build, fastest first. The list never changes.
const std::vector<Backend>& built_backends();

// Null where no backend of that name was built.
const Backend* find_backend(std::string_view name);

}  // namespace normdrop
