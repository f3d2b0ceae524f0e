// The emulated device: memory, copies and streams under the names that the bindings use.
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cuda/emulation/device_memory.h"
#include "cuda/emulation/launch.h"
#include "cuda/emulation/streams.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE {

void strided_copy(const StridedCopy& arguments);  // as the operations, in csrc/cuda/kernels

namespace {

using namespace emulation;

int device_count() { return 1; }

std::string unusable_reason() { return ""; }

std::string driver_version() { return ""; }

void check_device(int device) {
  if (device != 0) {
    throw DeviceError("device must be 0, the one that is emulated, got " + std::to_string(device));
  }
}

DeviceInfo info(int device) {
  check_device(device);
  const std::int64_t memory = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  return {"emulation on the host", 90, memory, true};
}

int device_of(const void* pointer) {
  const auto lock = device_lock();
  return is_within(pointer, MemoryKind::device) ? 0 : -1;
}

int current_device() { return 0; }

void* allocate(std::int64_t bytes, void* /*stream*/) {
  const auto lock = device_lock();
  return allocate_memory(bytes, MemoryKind::device);
}

void release(void* memory, void* stream) {
  const auto lock = device_lock();
  const Allocation allocation = forget_memory(memory, MemoryKind::device);
  enqueue(stream, [allocation] { destroy(allocation); });
}

void* allocate_pinned(std::int64_t bytes) {
  const auto lock = device_lock();
  return allocate_memory(bytes, MemoryKind::pinned);
}

void release_pinned(void* memory) {
  const auto lock = device_lock();
  destroy(forget_memory(memory, MemoryKind::pinned));
}

void check_on_device(const char* argument, const void* pointer, std::int64_t bytes) {
  if (bytes == 0) return;
  const char* last = static_cast<const char*>(pointer) + bytes - 1;
  if (is_within(pointer, MemoryKind::device) && is_within(last, MemoryKind::device)) return;
  throw DeviceError(std::string("copy: ") + argument + " must be memory of the device");
}

// Of pageable memory CUDA takes what it holds at the time of the call, of pinned memory what it
// holds when the copy is made.
void copy_to_device(void* target, const void* source, std::int64_t bytes, void* stream) {
  const auto lock = device_lock();
  check_on_device("target", target, bytes);
  const auto count = static_cast<std::size_t>(bytes);
  if (is_within(source, MemoryKind::pinned)) {
    enqueue(stream, [=] { std::memcpy(target, source, count); });
    return;
  }
  const auto* first = static_cast<const char*>(source);
  enqueue(stream, [target, snapshot = std::vector<char>(first, first + count)] {
    if (!snapshot.empty()) std::memcpy(target, snapshot.data(), snapshot.size());
  });
}

void copy_to_host(void* target, const void* source, std::int64_t bytes, void* stream) {
  const auto lock = device_lock();
  check_on_device("source", source, bytes);
  if (bytes == 0) return;
  enqueue(stream, [=] { std::memcpy(target, source, static_cast<std::size_t>(bytes)); });
}

bool is_capturing(void* /*stream*/) { return false; }

std::map<void*, Allocation>& workspaces() {
  static auto* all = new std::map<void*, Allocation>;
  return *all;
}

void delete_stream_and_workspace(void* stream) {
  const auto lock = device_lock();
  emulation::delete_stream(stream);
  const auto found = workspaces().find(stream);
  if (found == workspaces().end()) return;
  destroy(forget_memory(found->second.memory, MemoryKind::device));
  workspaces().erase(found);
}

}  // namespace

void* workspace(std::int64_t bytes, void* stream) {
  const auto lock = device_lock();
  Allocation& kept = workspaces()[stream];
  if (kept.memory != nullptr && kept.bytes < static_cast<std::size_t>(bytes)) {
    release(std::exchange(kept.memory, nullptr), stream);
  }
  if (kept.memory == nullptr) {
    void* memory = allocate_memory(bytes, MemoryKind::device);
    kept = {static_cast<unsigned char*>(memory), static_cast<std::size_t>(bytes)};
  }
  enqueue(stream, [allocation = kept] {
    check_redzones(allocation);
    fill(allocation.memory, allocation.bytes, unwritten);
  });
  return kept.memory;
}

extern const DeviceTable device_table = {
    .device_count = device_count,
    .unusable_reason = unusable_reason,
    .driver_version = driver_version,
    .info = info,
    .device_of = device_of,
    .current_device = current_device,
    .set_device = check_device,
    .allocate = allocate,
    .release = release,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .copy_to_device = copy_to_device,
    .copy_to_host = copy_to_host,
    .strided_copy = strided_copy,
    .new_stream = new_stream,
    .delete_stream = delete_stream_and_workspace,
    .wait_for = wait_for,
    .synchronise = synchronise,
    .is_capturing = is_capturing,
};

}  // namespace normdrop::NORMDROP_DEVICE
