// Backends, threads and the pool of outputs, as Python chooses them.
#include "bindings/runtime/runtime.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "bindings/arrays/output_pool.h"
#include "bindings/checks/checks.h"
#include "bindings/device/staging.h"

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

int get_num_threads() {
  const cpu::ThreadScope scope(threads_of_context());
  return cpu::thread_count();
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
}

}  // namespace normdrop
