// The arrays of an operation that goes row by row, as the staging ring takes them.
#include "bindings/operations/row_staging.h"

namespace normdrop {

StagedRows RowShape::read(const void* host, std::int64_t stride) const {
  return {static_cast<char*>(const_cast<void*>(host)), elements * item_bytes, stride * item_bytes,
          false};
}

StagedRows RowShape::written(void* host, std::int64_t stride) const {
  return {static_cast<char*>(host), elements * item_bytes, stride * item_bytes, true};
}

StagedRows RowShape::written_statistics(double* host) const {
  const std::int64_t bytes = statistics * static_cast<std::int64_t>(sizeof(double));
  return {reinterpret_cast<char*>(host), bytes, bytes, true};
}

}  // namespace normdrop
