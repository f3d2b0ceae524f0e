#include "cuda/emulation/streams.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

struct Stream {
  std::deque<std::function<void()>> tasks;
  std::uint64_t enqueued = 0;
  std::uint64_t done = 0;
};

using StreamPointer = std::shared_ptr<Stream>;

// The first is the default stream. Never destroyed, as the pools of fibers and memory.
std::vector<StreamPointer>& streams() {
  static auto* all = new std::vector<StreamPointer>{std::make_shared<Stream>()};
  return *all;
}

std::optional<StreamOrder>& chosen() {
  static std::optional<StreamOrder> order;
  return order;
}

StreamOrder stream_order() {
  if (!chosen()) {
    const char* text = std::getenv("NORMDROP_EMULATION_STREAMS");
    chosen() = text != nullptr ? parse_stream_order(text) : StreamOrder::immediate;
  }
  return *chosen();
}

StreamPointer find(void* handle) {
  if (handle == nullptr) return streams().front();
  for (const StreamPointer& stream : streams()) {
    if (stream.get() == handle) return stream;
  }
  throw DeviceError("stream: the pointer must be a stream that was made and not yet deleted");
}

// After an error nothing that was enqueued can be trusted.
void drop_everything() {
  for (const StreamPointer& stream : streams()) {
    stream->done = stream->enqueued;
    stream->tasks.clear();
  }
}

void run_until(Stream& stream, std::uint64_t count) {
  while (stream.done < count) {
    const std::function<void()> task = std::move(stream.tasks.front());
    stream.tasks.pop_front();
    try {
      task();  // may run tasks of other streams, for which it waits
    } catch (...) {
      drop_everything();
      throw;
    }
    ++stream.done;
  }
}

void run_everything() {
  for (const StreamPointer& stream : streams()) run_until(*stream, stream->enqueued);
}

}  // namespace

StreamOrder parse_stream_order(const std::string& text) {
  if (text == "immediate") return StreamOrder::immediate;
  if (text == "deferred") return StreamOrder::deferred;
  if (text == "lazy") return StreamOrder::lazy;
  throw DeviceError("NORMDROP_EMULATION_STREAMS must be immediate, deferred or lazy, got '" + text +
                    "'");
}

void set_stream_order(StreamOrder order) {
  const auto lock = device_lock();
  run_everything();
  chosen() = order;
}

void enqueue(void* stream, std::function<void()> task) {
  const auto lock = device_lock();
  Stream& target = *find(stream);
  target.tasks.push_back(std::move(task));
  ++target.enqueued;
  if (stream_order() == StreamOrder::immediate) run_until(target, target.enqueued);
}

void* new_stream() {
  const auto lock = device_lock();
  return streams().emplace_back(std::make_shared<Stream>()).get();
}

void delete_stream(void* handle) {
  const auto lock = device_lock();
  const StreamPointer stream = find(handle);
  run_until(*stream, stream->enqueued);
  std::erase(streams(), stream);
}

void wait_for(void* stream, void* other) {
  const auto lock = device_lock();
  const StreamPointer source = find(other);
  enqueue(stream, [source, count = source->enqueued] { run_until(*source, count); });
}

void synchronise(void* handle) {
  const auto lock = device_lock();
  const StreamPointer stream = find(handle);
  if (stream_order() == StreamOrder::deferred) {
    for (const StreamPointer& other : streams()) {
      if (other != stream) run_until(*other, other->enqueued);
    }
  }
  run_until(*stream, stream->enqueued);
}

std::unique_lock<std::recursive_mutex> device_lock() {
  static auto* mutex = new std::recursive_mutex;
  return std::unique_lock(*mutex);
}

}  // namespace normdrop::NORMDROP_DEVICE::emulation
