#include "registry.h"

namespace normdrop {

namespace baseline {
extern const OpTable op_table;
}
#if defined(NORMDROP_HAS_AVX2)
namespace avx2 {
extern const OpTable op_table;
}
#endif
#if defined(NORMDROP_HAS_AVX512)
namespace avx512 {
extern const OpTable op_table;
}
#endif
#if defined(NORMDROP_HAS_CUDA)
namespace cuda {
extern const OpTable op_table;
extern const DeviceTable device_table;
}  // namespace cuda
#endif
#if defined(NORMDROP_HAS_CUDA_EMULATION)
namespace cuda_emulated {
extern const OpTable op_table;
extern const DeviceTable device_table;
}  // namespace cuda_emulated
#endif

namespace {

std::string runs_always() { return ""; }

#if defined(NORMDROP_HAS_AVX2)
bool runs_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

std::string unusable_reason_of_avx2() {
  return runs_avx2() ? "" : "needs a processor with AVX2 and FMA (x86-64-v3)";
}
#endif

#if defined(NORMDROP_HAS_AVX512)
bool runs_avx512() {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

std::string unusable_reason_of_avx512() {
  return runs_avx512() ? "" : "needs a processor with AVX-512 F, BW, CD, DQ and VL (x86-64-v4)";
}
#endif

std::vector<Backend> list_backends() {
  std::vector<Backend> list;
#if defined(NORMDROP_HAS_CUDA)
  list.push_back(
      {"cuda", &cuda::op_table, cuda::device_table.unusable_reason, &cuda::device_table});
#endif
#if defined(NORMDROP_HAS_AVX512)
  list.push_back({"avx512", &avx512::op_table, unusable_reason_of_avx512, nullptr});
#endif
#if defined(NORMDROP_HAS_AVX2)
  list.push_back({"avx2", &avx2::op_table, unusable_reason_of_avx2, nullptr});
#endif
  list.push_back({"baseline", &baseline::op_table, runs_always, nullptr});
#if defined(NORMDROP_HAS_CUDA_EMULATION)
  list.push_back({"cuda-emulated", &cuda_emulated::op_table,
                  cuda_emulated::device_table.unusable_reason, &cuda_emulated::device_table});
#endif
  return list;
}

}  // namespace

const std::vector<Backend>& built_backends() {
  static const std::vector<Backend> list = list_backends();
  return list;
}

const Backend* find_backend(std::string_view name) {
  for (const Backend& backend : built_backends()) {
    if (name == backend.name) return &backend;
  }
  return nullptr;
}

}  // namespace normdrop
