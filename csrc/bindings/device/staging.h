// NumPy arrays on their way to a device and back: through pinned buffers, which the copy engines
// read while the host fills the next one. A ring of a few slots, each with a stream, a pinned
// buffer and as much memory of the device; rings are kept for later calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "registry.h"

namespace normdrop {

// One array of a row-wise operation, in the host's memory.
struct StagedRows {
  char* host;
  std::int64_t row_bytes;
  std::int64_t stride_bytes;
  bool written;
};

// Starts the kernel for rows from `first` on: one device pointer for each array, dense rows.
using LaunchRows =
    std::function<void(std::int64_t first, std::int64_t rows, char* const* device, void* stream)>;

class StagingRing {
 public:
  StagingRing(const Backend& backend, int device);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  const Backend& backend() const { return backend_; }
  int device() const { return device_; }
  void* stream() const { return stream_; }

  // Dense bytes, ordered on `stream`; the host's memory is done with at the return.
  void copy_in(char* device, const char* host, std::int64_t bytes);
  void copy_out(char* host, const char* device, std::int64_t bytes);

  // The whole of a row-wise operation: in, kernel and out overlap between the slots.
  void run_rows(std::int64_t rows, const std::vector<StagedRows>& arrays, const LaunchRows& launch);

  // After an error: waits until no copy is under way any more. False where the device is lost.
  bool settle() noexcept;

  std::int64_t chunk_bytes() const { return bytes_; }
  static void set_chunk_bytes(std::int64_t bytes);  // of rings made from now on

 private:
  struct Slot {
    void* stream = nullptr;
    char* pinned = nullptr;
    char* memory = nullptr;
    std::int64_t first = 0;
    std::int64_t rows = 0;  // whose results are still to be fetched
  };

  void release() noexcept;
  void collect(Slot& slot, const std::vector<StagedRows>& arrays);
  void start(Slot& slot, const std::vector<StagedRows>& arrays, const LaunchRows& launch);

  static constexpr int slot_count = 3;  // one fills, one computes, one is emptied
  const Backend& backend_;
  int device_;
  std::int64_t bytes_;
  void* stream_ = nullptr;
  Slot slots_[slot_count];
};

// A ring for the time of a call.
class StagingLease {
 public:
  StagingLease() = default;
  StagingLease(const Backend& backend, int device);
  ~StagingLease();
  StagingLease(StagingLease&&) = default;
  StagingLease& operator=(StagingLease&&) = default;

  explicit operator bool() const { return ring_ != nullptr; }
  StagingRing* operator->() const { return ring_.get(); }
  StagingRing* get() const { return ring_.get(); }

 private:
  std::unique_ptr<StagingRing> ring_;
};

void release_idle_staging();

}  // namespace normdrop
