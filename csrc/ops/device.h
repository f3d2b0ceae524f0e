// What a backend whose memory is not the host's offers beside its operations: memory, streams and
// copies. Streams are opaque (a cudaStream_t); null is the device's default stream. Functions
// throw std::bad_alloc where memory runs out and DeviceError for everything else.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "ops/dtype.h"

namespace normdrop {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DeviceInfo {
  std::string name;
  int compute_capability;  // 90 for 9.0
  std::int64_t memory_bytes;
  bool architecture_built;  // whether this build holds code that the device can run
};

// Elements of a strided array to those of another, converted where the dtypes differ.
struct StridedCopy {
  static constexpr int max_rank = 64;
  DType source_dtype;
  DType target_dtype;
  int rank;
  std::int64_t shape[max_rank];
  std::int64_t source_strides[max_rank];  // elements
  std::int64_t target_strides[max_rank];  // elements
  const void* source;
  void* target;
  void* stream;
};

struct DeviceTable {
  int (*device_count)();             // 0 where there is no driver or no device
  std::string (*unusable_reason)();  // empty where there is a device
  std::string (*driver_version)();   // the newest CUDA it runs, "13.0"; empty without a driver
  DeviceInfo (*info)(int device);
  int (*device_of)(const void* pointer);  // -1: not memory of a device
  int (*current_device)();
  void (*set_device)(int device);

  // Of the current device, ordered on `stream`.
  void* (*allocate)(std::int64_t bytes, void* stream);
  void (*release)(void* memory, void* stream);
  void* (*allocate_pinned)(std::int64_t bytes);
  void (*release_pinned)(void* memory);
  void (*copy_to_device)(void* target, const void* source, std::int64_t bytes, void* stream);
  void (*copy_to_host)(void* target, const void* source, std::int64_t bytes, void* stream);
  void (*strided_copy)(const StridedCopy& arguments);

  void* (*new_stream)();
  void (*delete_stream)(void* stream);
  void (*wait_for)(void* stream, void* other);  // for what `other` was given until now
  void (*synchronise)(void* stream);
  bool (*is_capturing)(void* stream);
};

}  // namespace normdrop
