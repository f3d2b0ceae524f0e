#include "bindings/runtime/runtime.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "bindings/arrays/output_pool.h"
#include "bindings/checks/checks.h"
#include "bindings/device/staging.h"
#include "common/philox.h"

namespace normdrop {
namespace {

std::atomic<const Backend*> process_backend{nullptr};  // null: not asked for yet
PyObject* context_backend = nullptr;                   // a contextvars.ContextVar of names
PyObject* context_threads = nullptr;                   // and one of numbers

std::string usable_names() {
  std::string names;
  for (const Backend& backend : built_backends()) {
    if (backend.usable()) names += (names.empty() ? "'" : ", '") + std::string(backend.name) + "'";
  }
  return names;
}

[[noreturn]] void fail_not_built(const std::string& where, const std::string& name) {
  std::string text = where + ": backend '" + name + "' is not in this build";
  if (name == "cuda") {
    text += std::string("; to add it, in normdrop's source folder: ") + add_cuda_command;
  }
  throw std::runtime_error(text + "; usable here: " + usable_names());
}

const Backend& require_backend(const std::string& where, const std::string& name) {
  const Backend* backend = find_backend(name);
  if (backend == nullptr) {
    const char* known[] = {"avx512", "avx2", "baseline", "cuda", "cuda-emulated"};
    for (const char* candidate : known) {
      if (name == candidate) fail_not_built(where, name);
    }
    throw py::value_error(where + " must be one of " + usable_names() + ", got '" + name + "'");
  }
  if (const std::string reason = backend->unusable_reason(); !reason.empty()) {
    throw std::runtime_error(where + ": backend '" + name + "' cannot run here: " + reason +
                             "; usable here: " + usable_names());
  }
  return *backend;
}

// NumPy arrays go to a device only where somebody asks for it.
const Backend& default_backend() {
  const char* text = std::getenv("NORMDROP_BACKEND");
  if (text != nullptr && *text != '\0') return require_backend("NORMDROP_BACKEND", text);
  return fastest_on_host();
}

const Backend& process_default() {
  const Backend* backend = process_backend.load();
  if (backend == nullptr) {
    backend = &default_backend();
    process_backend.store(backend);
  }
  return *backend;
}

std::string name_argument(py::handle name) {
  if (!PyUnicode_Check(name.ptr())) {
    fail_type({"use_backend", "name"}, "must be a string, got " + type_text(name));
  }
  return name.cast<std::string>();
}

// The value of a context variable; None where the context has none.
py::object value_in_context(PyObject* variable) {
  PyObject* value = nullptr;
  if (PyContextVar_Get(variable, Py_None, &value) < 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(value);
}

// Backend names of contexts are checked when they are set, so a lookup cannot fail.
const Backend* backend_of_context() {
  const py::object held = value_in_context(context_backend);
  if (held.is_none()) return nullptr;
  return static_cast<const Backend*>(PyCapsule_GetPointer(held.ptr(), "normdrop.backend"));
}

py::object backend_token(const std::string& name) {
  // A pointer: of a reference GCC 14 says that it might dangle, for the sake of the argument's text.
  const Backend* backend = &require_backend("use_backend: name", name);
  return py::reinterpret_steal<py::object>(
      PyCapsule_New(const_cast<Backend*>(backend), "normdrop.backend", nullptr));
}

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

int get_num_threads() {
  const cpu::ThreadScope scope(threads_of_context());
  return cpu::thread_count();
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

std::vector<std::string> backends() {
  std::vector<std::string> names;
  for (const Backend& backend : built_backends()) {
    if (backend.usable()) names.emplace_back(backend.name);
  }
  return names;
}

int require_thread_count(const char* function, py::handle count) {
  const Name name{function, "n"};
  const std::int64_t value = require_integer(name, count);
  if (value < 1 || value > cpu::most_threads) {
    fail_value(name, "must be from 1 to " + std::to_string(cpu::most_threads) + ", got " +
                         std::to_string(value));
  }
  return static_cast<int>(value);
}

void set_num_threads(py::handle count) {
  cpu::set_thread_count(require_thread_count("set_num_threads", count));
}

PyObject* new_context_variable(py::module_& module, const char* attribute, const char* name) {
  PyObject* variable = PyContextVar_New(name, nullptr);
  if (variable == nullptr) throw py::error_already_set();
  module.attr(attribute) = py::handle(variable);
  return variable;
}

void set_pool_limit(py::handle bytes) {
  const Name name{"set_pool_limit", "bytes"};
  const std::int64_t value = require_integer(name, bytes);
  if (value < 0) fail_value(name, "must be 0 or greater, got " + std::to_string(value));
  output_pool::set_limit(static_cast<std::size_t>(value));
}

void set_staging_chunk(std::int64_t bytes) {
  if (bytes < 4096) throw py::value_error("set_staging_chunk: bytes must be 4096 or more");
  release_idle_staging();
  StagingRing::set_chunk_bytes(bytes);
}

py::tuple philox4x32(py::handle counter, py::handle key) {
  const auto c = counter.cast<std::array<std::uint32_t, 4>>();
  const auto k = key.cast<std::array<std::uint32_t, 2>>();
  const philox::Block block = philox::block({{c[0], c[1], c[2], c[3]}}, k[0], k[1]);
  return py::make_tuple(block.word[0], block.word[1], block.word[2], block.word[3]);
}

void copy_bandwidth_kernel(py::handle target, py::handle source, bool streaming) {
  const ArrayView from = require_array({"copy_bandwidth_kernel", "source"}, source);
  const ArrayView to = optional_out({"copy_bandwidth_kernel", "target"}, target, from);
  if (!to || !from.c_contiguous() || !to.c_contiguous()) {
    throw py::value_error("copy_bandwidth_kernel: target and source must be C-contiguous");
  }
  const std::int64_t bytes = from.size() * from.item_bytes;
  call_on_host(&OpTable::copy, Copy{bytes, streaming, from.data, to.data, nullptr}, from.size());
}

}  // namespace

const Backend& active_backend() {
  const Backend* backend = backend_of_context();
  return backend != nullptr ? *backend : process_default();
}

int threads_of_context() {
  const py::object threads = value_in_context(context_threads);
  return threads.is_none() ? 0 : static_cast<int>(PyLong_AsLong(threads.ptr()));
}

const Backend& fastest_on_host() {
  for (const Backend& backend : built_backends()) {
    if (backend.device == nullptr && backend.usable()) return backend;
  }
  throw std::runtime_error("no backend of this build runs on this machine");
}

const Backend& host_backend() {
  const Backend& active = active_backend();
  return active.device == nullptr ? active : fastest_on_host();
}

const Backend* device_backend() {
  const Backend& active = active_backend();
  if (active.device != nullptr) return &active;
  static std::atomic<const Backend*> found{nullptr};  // asking the driver takes its time
  if (found.load() != nullptr) return found.load();
  for (const Backend& backend : built_backends()) {
    if (backend.device == nullptr || !backend.usable()) continue;
    found.store(&backend);
    return &backend;
  }
  return nullptr;
}

std::string no_device_reason() {
  for (const Backend& backend : built_backends()) {
    if (backend.device == nullptr) continue;
    return std::string("the backend '") + backend.name +
           "' cannot run here: " + backend.unusable_reason() + "; pass a numpy.ndarray";
  }
  return std::string(
             "this build of normdrop has CPU backends only; to add CUDA, in normdrop's source "
             "folder: ") +
         add_cuda_command + "; or pass a numpy.ndarray";
}

void bind_runtime(py::module_& module) {
  context_backend = new_context_variable(module, "context_backend", "normdrop_backend");
  context_threads = new_context_variable(module, "context_threads", "normdrop_num_threads");
  module.attr("most_threads") = cpu::most_threads;
  module.attr("smallest_pooled_bytes") = output_pool::smallest_bytes;
  module.def("backends", &backends);
  module.def("backend_token", [](py::handle name) { return backend_token(name_argument(name)); });
  module.def("active_backend", [] { return active_backend().name; });
  module.def("process_backend", [] { return process_default().name; });
  module.def("set_process_backend", [](py::handle name) {
    process_backend.store(&require_backend("use_backend: name", name_argument(name)));
  });
  module.def("get_num_threads", &get_num_threads);
  module.def("checked_thread_count",
             [](py::handle count) { return require_thread_count("num_threads", count); });
  module.def("set_num_threads", &set_num_threads);
  module.def("pool_limit", &output_pool::limit);
  module.def("set_pool_limit", &set_pool_limit);
  module.def("release_pool", [] {
    output_pool::release_idle();
    release_idle_staging();
  });
  module.def("set_staging_chunk", &set_staging_chunk);
  module.def("config", &config);
  module.def("philox4x32", &philox4x32);
  module.def("copy_bandwidth_kernel", &copy_bandwidth_kernel);
}

}  // namespace normdrop
