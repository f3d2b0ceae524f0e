// The emulated device's memory, through the table that the bindings use.
#include <algorithm>
#include <vector>

#include "cuda/device/unusable.h"
#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {

extern const DeviceTable device_table;

namespace {

__global__ void copy_floats(float* target, const float* source, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) target[i] = source[i];
}

__global__ void write_bytes(unsigned char* bytes, int first, int count) {
  for (int i = 0; i < count; ++i) bytes[first + i] = 7;
}

}  // namespace

// These tests do without the package's kernels; the table's copy is this one, of dense floats.
void strided_copy(const StridedCopy& arguments) {
  const std::int64_t count = arguments.shape[0];
  launch("copy_floats", copy_floats, {dim3(static_cast<unsigned>((count + 63) / 64)), dim3(64)},
         arguments.stream, static_cast<float*>(arguments.target),
         static_cast<const float*>(arguments.source), count);
}

namespace tests {
namespace {

const DeviceTable& device = device_table;

unsigned char* bytes_of(void* memory) { return static_cast<unsigned char*>(memory); }

void answers_for_one_device() {
  require(device.device_count() == 1 && device.unusable_reason().empty(), "one device");
  require(device.current_device() == 0 && device.info(0).architecture_built, "the device");
  device.set_device(0);
  require_error([] { device.set_device(1); }, "device must be 0, the one that is emulated, got 1");
  require(!device.is_capturing(nullptr), "capturing");
}

void knows_its_memory() {
  auto* memory = bytes_of(device.allocate(1000, nullptr));
  require(reinterpret_cast<std::uintptr_t>(memory) % 256 == 0, "alignment");
  require(std::all_of(memory, memory + 1000, [](int byte) { return byte == 0xFF; }), "poison");
  require(device.device_of(memory) == 0 && device.device_of(memory + 999) == 0, "inside");
  require(device.device_of(memory + 1000) == -1 && device.device_of(memory - 1) == -1, "outside");
  require(device.device_of(&memory) == -1 && device.device_of(nullptr) == -1, "others");
  device.release(memory, nullptr);
  require(device.device_of(memory) == -1, "after its release");
  require_error([&] { device.release(memory, nullptr); }, "allocated and not yet released");
  void* pinned = device.allocate_pinned(10);
  require(device.device_of(pinned) == -1, "pinned memory is the host's");
  require_error([&] { device.release(pinned, nullptr); }, "must be device memory");
  device.release_pinned(pinned);
}

void copies() {
  std::vector<float> host(100);
  for (int i = 0; i < 100; ++i) host[i] = static_cast<float>(i);
  void* first = device.allocate(400, nullptr);
  void* second = device.allocate(400, nullptr);
  StridedCopy arguments{};
  arguments.shape[0] = 100;
  arguments.source = first;
  arguments.target = second;
  device.copy_to_device(first, host.data(), 400, nullptr);
  device.strided_copy(arguments);
  std::vector<float> back(100);
  device.copy_to_host(back.data(), second, 400, nullptr);
  device.synchronise(nullptr);
  require(back == host, "there and back");
  require_error([&] { device.copy_to_device(host.data(), host.data(), 4, nullptr); },
                "copy: target must be memory of the device");
  require_error([&] { device.copy_to_host(host.data(), first, 401, nullptr); },
                "copy: source must be memory of the device");
  device.release(first, nullptr);
  device.release(second, nullptr);
}

void keeps_a_workspace() {
  void* stream = device.new_stream();
  auto* first = bytes_of(workspace(1000, stream));
  launch("write_bytes", write_bytes, {dim3(1), dim3(1)}, stream, first, 0, 1000);
  device.synchronise(stream);
  auto* again = bytes_of(workspace(500, stream));
  device.synchronise(stream);
  require(again == first && first[0] == 0xFF && first[999] == 0xFF, "kept and poisoned");
  require(workspace(1000, nullptr) != first, "each stream has its own");
  auto* larger = bytes_of(workspace(5000, stream));
  device.synchronise(stream);
  require(larger[4999] == 0xFF && device.device_of(larger + 4999) == 0, "grown");
  device.delete_stream(stream);
  require(device.device_of(larger) == -1, "gone with its stream");
  require_error([&] { device.synchronise(stream); }, "made and not yet deleted");
}

void tells_no_driver_from_an_old_one() {
  using runtime::version_text;
  using runtime::why_driver_is_insufficient;
  require(why_driver_is_insufficient({0, 13000}) == "there is no NVIDIA driver", "no driver");
  require(why_driver_is_insufficient({12040, 13010}) ==
              "the NVIDIA driver is too old: it runs CUDA 12.4 at most, and this build needs 13.1",
          "an old driver");
  require(version_text(0).empty() && version_text(11080) == "11.8", "versions");
}

void overrun_shows(int first, const char* side) {
  auto* memory = bytes_of(device.allocate(100, nullptr));
  launch("write_bytes", write_bytes, {dim3(1), dim3(1)}, nullptr, memory, first, 1);
  require_error([&] { device.release(memory, nullptr); },
                std::string("bytes ") + side + " an allocation of 100 bytes were overwritten");
}

void overrun_of_workspace_shows() {
  void* stream = device.new_stream();
  auto* memory = bytes_of(workspace(100, stream));
  launch("write_bytes", write_bytes, {dim3(1), dim3(1)}, stream, memory, 100, 2);
  require_error([&] {
    workspace(100, stream);
    device.synchronise(stream);
  }, "bytes behind");
}

}  // namespace

std::vector<Case> device_cases() {
  return {{"right/device/one", answers_for_one_device},
          {"right/device/memory", knows_its_memory},
          {"right/device/copies", copies},
          {"right/device/workspace", keeps_a_workspace},
          {"right/device/driver", tells_no_driver_from_an_old_one},
          {"wrong/device/overrun_behind", [] { overrun_shows(100, "behind"); }},
          {"wrong/device/overrun_before", [] { overrun_shows(-1, "before"); }},
          {"wrong/device/overrun_of_workspace", overrun_of_workspace_shows}};
}

}  // namespace tests
}  // namespace normdrop::NORMDROP_DEVICE
