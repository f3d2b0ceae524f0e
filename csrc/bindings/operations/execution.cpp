// Where a call computes, and the order of streams around it.
#include "bindings/operations/execution.h"

#include <algorithm>

#include "bindings/device/retirement.h"

namespace normdrop {
namespace {

const Backend& backend_for(const ArrayView& x) {
  return x.import ? *x.import->backend : active_backend();
}

}  // namespace

Execution::Execution(const ArrayView& x) : backend_(backend_for(x)) {
  if (backend_.device == nullptr) return;
  leader_ = x.import;
  leader_object_ = x.object;
  if (leader_) {
    device_ = leader_->device;
    stream_ = leader_->stream;
  } else {
    device_ = table().current_device();
    ring_ = StagingLease(backend_, device_);
    stream_ = ring_->stream();
  }
  previous_device_ = table().current_device();
  if (previous_device_ != device_) table().set_device(device_);
}

// Nobody can be told of an error here; the next call will meet it again.
Execution::~Execution() {
  if (on_host()) return;
  try {
    for (void* other : joined_streams_) table().wait_for(other, stream_);
    keep_until_passed(backend_, device_, stream_, std::move(held_));
  } catch (const std::exception&) {
    PyErr_Clear();
  }
  try {
    if (previous_device_ != device_) table().set_device(previous_device_);
  } catch (const DeviceError&) {
  }
}

bool Execution::stage_by_rows(std::int64_t rows, std::int64_t bytes_per_row) {
  by_rows_ = ring_ && rows > 1 && 2 * bytes_per_row <= ring_->chunk_bytes();
  return by_rows_;
}

void Execution::join(const ArrayView& view) {
  if (!view.import) return;
  if (!frees_in_stream_order(view.import->producer)) held_.push_back(view.import);
  void* other = view.import->stream;
  if (other == stream_) return;
  table().wait_for(stream_, other);
  if (std::find(joined_streams_.begin(), joined_streams_.end(), other) == joined_streams_.end()) {
    joined_streams_.push_back(other);
  }
}

std::shared_ptr<DeviceMemory> Execution::allocate(std::int64_t bytes) const {
  return std::make_shared<DeviceMemory>(backend_, device_, stream_, bytes);
}

}  // namespace normdrop
