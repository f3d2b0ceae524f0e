// Lists the compute capabilities of this machine's GPUs: 90;90. That it compiles and links also
// shows the build that the toolkit is complete and supports the host compiler.
#include <cuda_runtime.h>

#include <concepts>
#include <cstdio>

template <std::floating_point T>
__global__ void increase(T* x) {
  *x += T(1);
}

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return 1;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return 1;
    std::printf("%s%d%d", device == 0 ? "" : ";", properties.major, properties.minor);
  }
  if (count < 0) increase<<<1, 1>>>(static_cast<float*>(nullptr));  // for nvcc to compile
  return 0;
}
