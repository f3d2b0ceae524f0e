// Operations on arrays in the host's memory whose outer indices are independent, computed on a device
// chunk by chunk: the arguments hold pointers to the host for what has rows, and to the device for
// the parameters.
#pragma once

#include <vector>

#include "bindings/operations/execution.h"

namespace normdrop {

// What one outer index is in bytes.
struct RowShape {
  std::int64_t elements;
  std::int64_t item_bytes;
  std::int64_t statistics;

  StagedRows read(const void* host, std::int64_t stride) const;
  StagedRows written(void* host, std::int64_t stride) const;
  StagedRows written_statistics(double* host) const;
};

// The arrays of a part of the rows on the device, in the order in which they were added.
struct RowPart {
  char* const* device;
  std::int64_t first_row;

  char* next() { return *device++; }
};

}  // namespace normdrop
