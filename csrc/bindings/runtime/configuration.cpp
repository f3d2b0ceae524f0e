// What `show_config` and `normdrop info` tell of this build and this machine.
#include <string>

#include "bindings/arrays/output_pool.h"
#include "bindings/runtime/runtime.h"

namespace normdrop {
namespace {

namespace py = pybind11;

py::dict device_config(const DeviceTable& table, int device) {
  const DeviceInfo info = table.info(device);
  py::dict result;
  result["name"] = info.name;
  result["compute_capability"] = std::to_string(info.compute_capability / 10) + "." +
                                 std::to_string(info.compute_capability % 10);
  result["memory_bytes"] = info.memory_bytes;
  result["architecture_built"] = info.architecture_built;
  return result;
}

// None where the build has no CUDA.
py::object cuda_config() {
  const Backend* cuda = find_backend("cuda");
  if (cuda == nullptr) return py::none();
  py::list devices;
  const int count = cuda->device->device_count();
  for (int device = 0; device < count; ++device) {
    devices.append(device_config(*cuda->device, device));
  }
  py::dict result;
  result["toolkit"] = NORMDROP_CUDA_TOOLKIT;
  result["architectures"] = py::str(NORMDROP_CUDA_ARCHITECTURES).attr("split")();
  const std::string driver = cuda->device->driver_version();
  result["driver"] = driver.empty() ? py::object(py::none()) : py::object(py::str(driver));
  result["devices"] = devices;
  return result;
}

// What does not depend on the environment.
py::dict config() {
  py::dict result;
  py::list built;
  py::dict unusable;
  for (const Backend& backend : built_backends()) {
    built.append(backend.name);
    const std::string reason = backend.unusable_reason();
    if (!reason.empty()) unusable[backend.name] = reason;
  }
  result["compiler"] = NORMDROP_COMPILER;
  result["build_type"] = NORMDROP_BUILD_TYPE;
  result["openmp"] = cpu::built_with_openmp();
  result["backends_built"] = built;
  result["backends_unusable"] = unusable;
  result["cuda"] = cuda_config();
  result["add_cuda"] = find_backend("cuda") == nullptr ? py::object(py::str(add_cuda_command))
                                                       : py::object(py::none());
  result["pool_idle_bytes"] = output_pool::idle_bytes();
  return result;
}

}  // namespace

void bind_configuration(py::module_& module) { module.def("config", &config); }

}  // namespace normdrop
