#include "cuda/device/errors.h"

#include <new>
#include <string>

#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE::runtime {
namespace {

std::string advice(cudaError_t code) {
  if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorInvalidDeviceFunction ||
      code == cudaErrorUnsupportedPtxVersion) {
    return "; this build holds no code for the device: rebuild with "
           "-C cmake.define.CMAKE_CUDA_ARCHITECTURES=native";
  }
  return "";
}

}  // namespace

void fail(cudaError_t code, const char* name, const char* what) {
  cudaGetLastError();  // otherwise the next call that is fine would report it again
  if (code == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw DeviceError(std::string(name) + ": " + what + ": " + cudaGetErrorString(code) +
                    advice(code));
}

}  // namespace normdrop::NORMDROP_DEVICE::runtime
