// The ring of pinned buffers between NumPy arrays and a device.
#include "bindings/device/staging.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "bindings/device/current_device.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {
namespace {

// Large enough that a copy takes far longer than its start, small enough that a ring is cheap.
constexpr std::int64_t default_chunk_bytes = std::int64_t{4} << 20;
constexpr std::int64_t alignment = 256;
constexpr std::size_t most_idle_rings = 2;

// For rings made from now on.
std::atomic<std::int64_t> wanted_chunk_bytes{default_chunk_bytes};

std::int64_t aligned(std::int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

// With the threads of the host's backend: one thread alone is slower than the bus.
void copy_on_host(char* target, const char* source, std::int64_t bytes) {
  fastest_on_host().table->copy(Copy{bytes, false, source, target, nullptr});
}

// Rows between the host's array and a dense buffer.
void gather(char* dense, const StagedRows& array, std::int64_t first, std::int64_t rows) {
  const char* source = array.host + first * array.stride_bytes;
  if (array.stride_bytes == array.row_bytes) {
    copy_on_host(dense, source, rows * array.row_bytes);
    return;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(dense + row * array.row_bytes, source + row * array.stride_bytes, array.row_bytes);
  }
}

void scatter(const StagedRows& array, const char* dense, std::int64_t first, std::int64_t rows) {
  char* target = array.host + first * array.stride_bytes;
  if (array.stride_bytes == array.row_bytes) {
    copy_on_host(target, dense, rows * array.row_bytes);
    return;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(target + row * array.stride_bytes, dense + row * array.row_bytes, array.row_bytes);
  }
}

struct IdleRings {
  std::mutex mutex;
  std::vector<std::unique_ptr<StagingRing>> rings;
};

// Never destroyed: at the end of the process the driver may be gone before static objects are.
IdleRings& idle() {
  static auto* instance = new IdleRings;
  return *instance;
}

}  // namespace

StagingRing::StagingRing(const Backend& backend, int device)
    : backend_(backend), device_(device), bytes_(wanted_chunk_bytes.load()) {
  const DeviceTable& table = *backend.device;
  try {
    stream_ = table.new_stream();
    for (Slot& slot : slots_) {
      slot.stream = table.new_stream();
      slot.pinned = static_cast<char*>(table.allocate_pinned(bytes_));
      slot.memory = static_cast<char*>(table.allocate(bytes_, slot.stream));
    }
  } catch (...) {
    release();
    throw;
  }
}

StagingRing::~StagingRing() { release(); }

void StagingRing::release() noexcept {
  const DeviceTable& table = *backend_.device;
  try {
    const CurrentDevice current(table, device_);
    for (Slot& slot : slots_) {
      if (slot.memory != nullptr) table.release(slot.memory, slot.stream);
      if (slot.pinned != nullptr) table.release_pinned(slot.pinned);
      if (slot.stream != nullptr) table.delete_stream(slot.stream);
    }
    if (stream_ != nullptr) table.delete_stream(stream_);
  } catch (const std::exception&) {  // a lost device takes its memory along
  }
}

void StagingRing::set_chunk_bytes(std::int64_t bytes) { wanted_chunk_bytes.store(bytes); }

void StagingRing::copy_in(char* device, const char* host, std::int64_t bytes) {
  const DeviceTable& table = *backend_.device;
  const ReleasedGil released(true);
  for (Slot& slot : slots_) table.wait_for(slot.stream, stream_);
  int turn = 0;
  for (std::int64_t done = 0; done < bytes; done += bytes_) {
    Slot& slot = slots_[turn++ % slot_count];
    const std::int64_t part = std::min(bytes_, bytes - done);
    table.synchronise(slot.stream);
    copy_on_host(slot.pinned, host + done, part);
    table.copy_to_device(device + done, slot.pinned, part, slot.stream);
  }
  for (Slot& slot : slots_) table.wait_for(stream_, slot.stream);
}

void StagingRing::copy_out(char* host, const char* device, std::int64_t bytes) {
  const DeviceTable& table = *backend_.device;
  const ReleasedGil released(true);
  for (Slot& slot : slots_) table.wait_for(slot.stream, stream_);
  const std::int64_t parts = (bytes + bytes_ - 1) / bytes_;
  const auto length = [&](std::int64_t part) { return std::min(bytes_, bytes - part * bytes_); };
  for (std::int64_t part = 0; part < parts + slot_count; ++part) {
    Slot& slot = slots_[part % slot_count];
    const std::int64_t arrived = part - slot_count;
    if (arrived >= 0 && arrived < parts) {
      table.synchronise(slot.stream);
      copy_on_host(host + arrived * bytes_, slot.pinned, length(arrived));
    }
    if (part >= parts) continue;
    table.copy_to_host(slot.pinned, device + part * bytes_, length(part), slot.stream);
  }
}

void StagingRing::collect(Slot& slot, const std::vector<StagedRows>& arrays) {
  backend_.device->synchronise(slot.stream);
  const char* dense = slot.pinned;
  for (const StagedRows& array : arrays) {
    if (array.written) scatter(array, dense, slot.first, slot.rows);
    dense += aligned(slot.rows * array.row_bytes);
  }
  slot.rows = 0;
}

void StagingRing::start(Slot& slot, const std::vector<StagedRows>& arrays,
                        const LaunchRows& launch) {
  const DeviceTable& table = *backend_.device;
  table.synchronise(slot.stream);  // parameters may still be on their way out of the buffer
  std::vector<char*> pointers;
  std::int64_t offset = 0;
  for (const StagedRows& array : arrays) {
    const std::int64_t bytes = slot.rows * array.row_bytes;
    pointers.push_back(slot.memory + offset);
    if (!array.written) {
      gather(slot.pinned + offset, array, slot.first, slot.rows);
      table.copy_to_device(slot.memory + offset, slot.pinned + offset, bytes, slot.stream);
    }
    offset += aligned(bytes);
  }
  launch(slot.first, slot.rows, pointers.data(), slot.stream);
  offset = 0;
  for (const StagedRows& array : arrays) {
    const std::int64_t bytes = slot.rows * array.row_bytes;
    if (array.written) {
      table.copy_to_host(slot.pinned + offset, slot.memory + offset, bytes, slot.stream);
    }
    offset += aligned(bytes);
  }
}

void StagingRing::run_rows(std::int64_t rows, const std::vector<StagedRows>& arrays,
                           const LaunchRows& launch) {
  const ReleasedGil released(true);
  std::int64_t row_bytes = 0;
  for (const StagedRows& array : arrays) row_bytes += array.row_bytes;
  const std::int64_t padding = alignment * static_cast<std::int64_t>(arrays.size());
  std::int64_t rows_at_once = (bytes_ - padding) / row_bytes;
  // Dropout's rows are elements: its words come in fours, and vectors want whole groups.
  if (rows_at_once > 64) rows_at_once -= rows_at_once % 64;
  for (Slot& slot : slots_) {
    slot.rows = 0;
    backend_.device->wait_for(slot.stream, stream_);
  }
  int turn = 0;
  for (std::int64_t first = 0; first < rows; first += rows_at_once) {
    Slot& slot = slots_[turn++ % slot_count];
    if (slot.rows > 0) collect(slot, arrays);
    slot.first = first;
    slot.rows = std::min(rows_at_once, rows - first);
    start(slot, arrays, launch);
  }
  for (int i = 0; i < slot_count; ++i) {
    Slot& slot = slots_[turn++ % slot_count];
    if (slot.rows > 0) collect(slot, arrays);
  }
}

bool StagingRing::settle() noexcept {
  try {
    for (Slot& slot : slots_) backend_.device->synchronise(slot.stream);
    backend_.device->synchronise(stream_);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

StagingLease::StagingLease(const Backend& backend, int device) {
  {
    IdleRings& kept = idle();
    const std::lock_guard<std::mutex> lock(kept.mutex);
    for (std::size_t i = 0; i < kept.rings.size(); ++i) {
      if (&kept.rings[i]->backend() != &backend || kept.rings[i]->device() != device) continue;
      ring_ = std::move(kept.rings[i]);
      kept.rings.erase(kept.rings.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
  }
  ring_ = std::make_unique<StagingRing>(backend, device);
}

StagingLease::~StagingLease() {
  if (!ring_ || !ring_->settle()) return;
  IdleRings& kept = idle();
  const std::lock_guard<std::mutex> lock(kept.mutex);
  if (kept.rings.size() < most_idle_rings) kept.rings.push_back(std::move(ring_));
}

void release_idle_staging() {
  std::vector<std::unique_ptr<StagingRing>> rings;
  IdleRings& kept = idle();
  const std::lock_guard<std::mutex> lock(kept.mutex);
  rings.swap(kept.rings);
}

}  // namespace normdrop
