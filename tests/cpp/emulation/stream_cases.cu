// Two streams that share an array: with the waits they need, and without.
#include <string>

#include "cuda/emulation/streams.h"
#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

extern const DeviceTable device_table;

namespace tests {
namespace {

using emulation::StreamOrder;

const DeviceTable& device = device_table;

__global__ void set_number(int* number, int value) { *number = value; }
__global__ void copy_number(int* target, const int* source) { *target = *source; }

void set_on(void* stream, int* number, int value) {
  launch("set_number", set_number, {dim3(1), dim3(1)}, stream, number, value);
}

// Two streams and two numbers on the device, the first of them 1.
struct Scene {
  void* writer = device.new_stream();
  void* reader = device.new_stream();
  int* shared = static_cast<int*>(device.allocate(sizeof(int), nullptr));
  int* seen = static_cast<int*>(device.allocate(sizeof(int), nullptr));

  Scene() {
    set_on(writer, shared, 1);
    device.synchronise(writer);
  }
  ~Scene() {
    device.delete_stream(writer);
    device.delete_stream(reader);
    device.release(shared, nullptr);
    device.release(seen, nullptr);
    device.synchronise(nullptr);
  }
  void read() { launch("copy_number", copy_number, {dim3(1), dim3(1)}, reader, seen, shared); }
  int answer() {
    int value = 0;
    device.copy_to_host(&value, seen, sizeof(value), reader);
    device.synchronise(reader);
    return value;
  }
};

int read_after_write(bool waits) {
  Scene scene;
  set_on(scene.writer, scene.shared, 2);
  if (waits) device.wait_for(scene.reader, scene.writer);
  scene.read();
  return scene.answer();
}

int read_before_write(bool waits) {
  Scene scene;
  scene.read();
  if (waits) device.wait_for(scene.writer, scene.reader);
  set_on(scene.writer, scene.shared, 2);
  return scene.answer();
}

// What a copy takes from the host that changes after the call.
int copy_of_changing(int* source) {
  Scene scene;
  *source = 3;
  device.copy_to_device(scene.seen, source, sizeof(int), scene.reader);
  *source = 4;
  return scene.answer();
}

int copy_of_changing_pinned() {
  auto* source = static_cast<int*>(device.allocate_pinned(sizeof(int)));
  const int copied = copy_of_changing(source);
  device.release_pinned(source);
  return copied;
}

template <class Action>
int in_stream_order(StreamOrder order, Action action) {
  emulation::set_stream_order(order);
  const int value = action();
  emulation::set_stream_order(StreamOrder::immediate);
  return value;
}

void waiting_programs_are_right() {
  for (auto order : {StreamOrder::immediate, StreamOrder::deferred, StreamOrder::lazy}) {
    require(in_stream_order(order, [] { return read_after_write(true); }) == 2, "after");
    require(in_stream_order(order, [] { return read_before_write(true); }) == 1, "before");
    int pageable = 0;
    require(in_stream_order(order, [&] { return copy_of_changing(&pageable); }) == 3, "copy");
  }
}

void missing_wait_after_write_shows() {
  require(in_stream_order(StreamOrder::lazy, [] { return read_after_write(false); }) == 1, "lazy");
}

void missing_wait_before_write_shows() {
  require(in_stream_order(StreamOrder::deferred, [] { return read_before_write(false); }) == 2,
          "deferred");
}

void pinned_memory_changed_too_early_shows() {
  require(in_stream_order(StreamOrder::lazy, copy_of_changing_pinned) == 4, "lazy");
}

void missing_synchronisation_shows() {
  int value = 0;
  in_stream_order(StreamOrder::lazy, [&] {
    Scene scene;
    device.copy_to_host(&value, scene.shared, sizeof(value), scene.reader);
    require(value == 0, "the copy must not have been made yet");
    device.synchronise(scene.reader);
    require(value == 1, "the copy must have been made");
    return 0;
  });
}

__global__ void fails() {
  if (threadIdx.x == 0) __syncthreads();
}

void error_comes_with_synchronisation() {
  in_stream_order(StreamOrder::deferred, [] {
    Scene scene;
    launch("fails", fails, {dim3(1), dim3(2)}, scene.writer);
    set_on(scene.writer, scene.shared, 5);
    require_error([&] { device.synchronise(scene.reader); }, "fails: thread ");
    device.synchronise(scene.writer);
    require(*scene.shared == 1, "what came after the failure must not have run");
    return 0;
  });
}

void names_are_checked() {
  require_error([] { emulation::parse_stream_order("later"); },
                "must be immediate, deferred or lazy, got 'later'");
}

}  // namespace

std::vector<Case> stream_cases() {
  return {{"right/streams/waits", waiting_programs_are_right},
          {"wrong/streams/no_wait_after_write", missing_wait_after_write_shows},
          {"wrong/streams/no_wait_before_write", missing_wait_before_write_shows},
          {"wrong/streams/pinned_changed", pinned_memory_changed_too_early_shows},
          {"wrong/streams/no_synchronisation", missing_synchronisation_shows},
          {"wrong/streams/late_error", error_comes_with_synchronisation},
          {"wrong/streams/name", names_are_checked}};
}

}  // namespace tests
}  // namespace normdrop::NORMDROP_DEVICE
