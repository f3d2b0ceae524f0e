// The devices of the CUDA runtime: memory, copies and streams under the names that the bindings
// use. Without a driver there are no devices, and nothing here fails before one is asked for.
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "cuda/device/errors.h"
#include "cuda/device/launch.h"
#include "cuda/device/unusable.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE {

void strided_copy(const StridedCopy& arguments);  // as the operations, in csrc/cuda/kernels

namespace {

using runtime::check;

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

cudaError_t count_devices(int& count) {
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code != cudaSuccess) {
    cudaGetLastError();
    count = 0;
  }
  return code;
}

int device_count() {
  int count = 0;
  count_devices(count);
  return count;
}

runtime::Versions versions() {
  runtime::Versions found{};
  if (cudaDriverGetVersion(&found.driver) != cudaSuccess) found.driver = 0;
  if (cudaRuntimeGetVersion(&found.runtime) != cudaSuccess) found.runtime = CUDART_VERSION;
  return found;
}

std::string unusable_reason() {
  int count = 0;
  const cudaError_t code = count_devices(count);
  if (count > 0) return "";
  if (code == cudaSuccess || code == cudaErrorNoDevice) return "there is no CUDA device";
  if (code == cudaErrorInsufficientDriver) return runtime::why_driver_is_insufficient(versions());
  return std::string("no CUDA device can be used: ") + cudaGetErrorString(code);
}

std::string driver_version() { return runtime::version_text(versions().driver); }

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "device", "no current device");
  return device;
}

void set_device(int device) { check(cudaSetDevice(device), "device", "it cannot be selected"); }

class SelectedDevice {
 public:
  explicit SelectedDevice(int device) : previous_(current_device()) { set_device(device); }
  ~SelectedDevice() { cudaSetDevice(previous_); }
  SelectedDevice(const SelectedDevice&) = delete;
  SelectedDevice& operator=(const SelectedDevice&) = delete;

 private:
  int previous_;
};

__global__ void is_there_code_for_this_device() {}

bool architecture_built(int device) {
  const SelectedDevice selected(device);
  cudaFuncAttributes attributes{};
  const bool built =
      cudaFuncGetAttributes(&attributes, is_there_code_for_this_device) == cudaSuccess;
  if (!built) cudaGetLastError();
  return built;
}

DeviceInfo info(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "device", "it has no properties");
  return {properties.name, 10 * properties.major + properties.minor,
          static_cast<std::int64_t>(properties.totalGlobalMem), architecture_built(device)};
}

int device_of(const void* pointer) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, pointer) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  const bool on_device =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return on_device ? attributes.device : -1;
}

bool make_pool(int device) {
  int supported = 0;
  check(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device), "allocate",
        "no such attribute");
  if (supported == 0) return false;
  cudaMemPool_t pool{};
  check(cudaDeviceGetDefaultMemPool(&pool, device), "allocate", "the device has no memory pool");
  std::uint64_t kept = UINT64_MAX;  // else every synchronisation gives all free memory back
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "allocate",
        "the memory pool cannot be set up");
  return true;
}

// Of the current device; set up once.
bool has_pool() {
  static std::mutex mutex;
  static auto* all = new std::map<int, bool>;
  const int device = current_device();
  const std::scoped_lock lock(mutex);
  auto found = all->find(device);
  if (found == all->end()) found = all->emplace(device, make_pool(device)).first;
  return found->second;
}

void* allocate(std::int64_t bytes, void* stream) {
  const std::size_t wanted = bytes > 0 ? static_cast<std::size_t>(bytes) : 1;
  void* memory = nullptr;
  const cudaError_t code = has_pool() ? cudaMallocAsync(&memory, wanted, stream_of(stream))
                                      : cudaMalloc(&memory, wanted);
  check(code, "allocate", "no device memory");
  return memory;
}

void release(void* memory, void* stream) {
  const cudaError_t code = has_pool() ? cudaFreeAsync(memory, stream_of(stream)) : cudaFree(memory);
  check(code, "release", "it is no device memory");
}

void* allocate_pinned(std::int64_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, static_cast<std::size_t>(bytes > 0 ? bytes : 1)), "allocate_pinned",
        "no pinned memory");
  return memory;
}

void release_pinned(void* memory) {
  check(cudaFreeHost(memory), "release_pinned", "it is no pinned memory");
}

void copy_to_device(void* target, const void* source, std::int64_t bytes, void* stream) {
  check(cudaMemcpyAsync(target, source, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice,
                        stream_of(stream)),
        "copy_to_device", "the copy failed");
}

void copy_to_host(void* target, const void* source, std::int64_t bytes, void* stream) {
  check(cudaMemcpyAsync(target, source, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost,
                        stream_of(stream)),
        "copy_to_host", "the copy failed");
}

bool is_capturing(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream_of(stream), &status), "stream", "its state is unknown");
  return status != cudaStreamCaptureStatusNone;
}

// The capture that a stream is in, 0 where it is in none.
unsigned long long capture_of(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long capture = 0;
  check(cudaStreamGetCaptureInfo(stream_of(stream), &status, &capture), "stream",
        "its state is unknown");
  return status == cudaStreamCaptureStatusActive ? capture : 0;
}

// Memory for a graph that is being captured: an allocation that is no part of the graph, which the
// driver lets through in relaxed mode only.
void* allocate_for_graph(std::int64_t bytes) {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  check(cudaThreadExchangeStreamCaptureMode(&mode), "workspace", "the capture cannot be relaxed");
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
  check(cudaThreadExchangeStreamCaptureMode(&mode), "workspace", "the capture is not as it was");
  check(code, "workspace", "no device memory for a graph");
  return memory;
}

struct Workspace {
  void* memory = nullptr;
  std::int64_t bytes = 0;
};

using Workspaces = std::map<std::pair<int, void*>, Workspace>;

std::mutex workspace_mutex;

// Of each capture. A graph holds their addresses for as long as it lives, which nobody tells us:
// they are never given back.
Workspace& workspace_of_capture(unsigned long long capture) {
  static auto* all = new std::map<unsigned long long, Workspace>;
  return (*all)[capture];
}

// Never destroyed: by then the driver may be gone.
Workspaces& workspaces() {
  static auto* all = new Workspaces;
  return *all;
}

void* new_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream", "it cannot be made");
  return stream;
}

void delete_stream(void* stream) {
  {
    const std::scoped_lock lock(workspace_mutex);
    const auto found = workspaces().find({current_device(), stream});
    if (found != workspaces().end()) {
      release(found->second.memory, stream);
      workspaces().erase(found);
    }
  }
  check(cudaStreamDestroy(stream_of(stream)), "stream", "it cannot be deleted");
}

void wait_for(void* stream, void* other) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "stream", "it cannot wait");
  cudaError_t code = cudaEventRecord(event, stream_of(other));
  if (code == cudaSuccess) code = cudaStreamWaitEvent(stream_of(stream), event, 0);
  cudaEventDestroy(event);  // takes effect when the event has passed
  check(code, "stream", "it cannot wait");
}

void synchronise(void* stream) {
  check(cudaStreamSynchronize(stream_of(stream)), "synchronise", "work on the stream failed");
}

}  // namespace

void* workspace(std::int64_t bytes, void* stream) {
  const std::scoped_lock lock(workspace_mutex);
  const unsigned long long capture = capture_of(stream);
  Workspace& kept =
      capture != 0 ? workspace_of_capture(capture) : workspaces()[{current_device(), stream}];
  if (kept.memory != nullptr && kept.bytes >= bytes) return kept.memory;
  if (capture != 0) {
    kept = {allocate_for_graph(bytes), bytes};
    return kept.memory;
  }
  if (kept.memory != nullptr) release(std::exchange(kept.memory, nullptr), stream);
  kept.memory = allocate(bytes, stream);
  kept.bytes = bytes;
  return kept.memory;
}

extern const DeviceTable device_table = {
    .device_count = device_count,
    .unusable_reason = unusable_reason,
    .driver_version = driver_version,
    .info = info,
    .device_of = device_of,
    .current_device = current_device,
    .set_device = set_device,
    .allocate = allocate,
    .release = release,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .copy_to_device = copy_to_device,
    .copy_to_host = copy_to_host,
    .strided_copy = strided_copy,
    .new_stream = new_stream,
    .delete_stream = delete_stream,
    .wait_for = wait_for,
    .synchronise = synchronise,
    .is_capturing = is_capturing,
};

}  // namespace normdrop::NORMDROP_DEVICE
