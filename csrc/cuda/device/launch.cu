#include "cuda/device/launch.h"

#include <map>
#include <mutex>
#include <utility>

#include "cuda/device/errors.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr std::size_t shared_bytes_without_asking = 48 * 1024;
constexpr int static_shared_bytes = 1024;  // left to a kernel's shared arrays of fixed size
constexpr unsigned portable_cluster = 8;
constexpr const char* failed = "the launch failed";

int current_device() {
  int device = 0;
  runtime::check(cudaGetDevice(&device), "device", "no current device");
  return device;
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  runtime::check(cudaDeviceGetAttribute(&value, which, device), "device", "no such attribute");
  return value;
}

DeviceLimits limits_of(int device) {
  const bool clusters = attribute(cudaDevAttrClusterLaunch, device) != 0;
  // Sixteen blocks are what sm_90 and sm_100 take when asked; consumer cards stop at eight.
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, device);
  const bool large = major == 9 || major == 10;
  return {attribute(cudaDevAttrMultiProcessorCount, device),
          attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device) - static_shared_bytes,
          clusters,
          !clusters ? 1
          : large   ? 16
                    : static_cast<int>(portable_cluster)};
}

// Attributes belong to a kernel on a device. They are set when a launch needs more than the last.
struct KernelAttributes {
  std::size_t shared_bytes = shared_bytes_without_asking;
  bool large_cluster = false;
};

KernelAttributes& attributes_of(const void* kernel) {
  static auto* all = new std::map<std::pair<int, const void*>, KernelAttributes>;
  return (*all)[{current_device(), kernel}];
}

void prepare(const char* name, const void* kernel, const LaunchDims& dims) {
  const bool large_cluster = dims.cluster > portable_cluster;
  if (dims.shared_bytes <= shared_bytes_without_asking && !large_cluster) return;
  static std::mutex mutex;
  const std::scoped_lock lock(mutex);
  KernelAttributes& known = attributes_of(kernel);
  if (dims.shared_bytes > known.shared_bytes) {
    runtime::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(dims.shared_bytes)),
                   name, failed);
    known.shared_bytes = dims.shared_bytes;
  }
  if (large_cluster && !known.large_cluster) {
    runtime::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
                   name, failed);
    known.large_cluster = true;
  }
}

bool empty(const dim3& dims) { return dims.x == 0 || dims.y == 0 || dims.z == 0; }

}  // namespace

const DeviceLimits& device_limits() {
  static std::mutex mutex;
  static auto* all = new std::map<int, DeviceLimits>;
  const int device = current_device();
  const std::scoped_lock lock(mutex);
  auto found = all->find(device);
  if (found == all->end()) found = all->emplace(device, limits_of(device)).first;
  return found->second;
}

void runtime::launch_untyped(const char* name, const void* kernel, const LaunchDims& dims,
                             void* stream, void** arguments) {
  if (empty(dims.grid) || empty(dims.block)) fail(cudaErrorInvalidConfiguration, name, failed);
  prepare(name, kernel, dims);
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = dims.cluster;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dims.grid;
  config.blockDim = dims.block;
  config.dynamicSmemBytes = dims.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &cluster;
  config.numAttrs = dims.cluster > 1 ? 1 : 0;
  check(cudaLaunchKernelExC(&config, kernel, arguments), name, failed);
}

}  // namespace normdrop::NORMDROP_DEVICE
