// Which backend a call runs on, and how a kernel is called: without the GIL where that pays, in
// the default floating-point environment.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "cpu/parallel.h"
#include "registry.h"

namespace normdrop {

// The backend of the current context (`with use_backend(...)`) or of the process.
const Backend& active_backend();

// The active one where it works in the host's memory, else the fastest that does. The latter alone
// needs no GIL.
const Backend& host_backend();
const Backend& fastest_on_host();

// The backend for arrays that lie on a device: the active one where it has devices, else the first
// usable one that has; null where there is none, for the reason that `no_device_reason` gives.
const Backend* device_backend();
std::string no_device_reason();

// Below this many elements a kernel is done sooner than the GIL is handed over and back.
inline constexpr std::int64_t keep_gil_below = 8192;

class ReleasedGil {
 public:
  explicit ReleasedGil(bool release) : state_(release ? PyEval_SaveThread() : nullptr) {}
  ~ReleasedGil() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

// Threads that the current context asks for (`with num_threads(n)`); 0 where it does not.
int threads_of_context();

// What a kernel runs in. Small ones keep the GIL, and use one thread anyway.
class KernelScope {
 public:
  explicit KernelScope(bool is_small)
      : threads_(is_small ? 0 : threads_of_context()), released_(!is_small) {}

 private:
  cpu::ThreadScope threads_;
  ReleasedGil released_;
  cpu::DefaultFloatEnvironment environment_;
};

// For what is computed in the host's memory, whatever the backend.
template <class Arguments>
void call_on_host(void (*OpTable::*operation)(const Arguments&), const Arguments& arguments,
                  std::int64_t elements) {
  const OpTable& table = *host_backend().table;
  const KernelScope scope(elements < keep_gil_below);
  (table.*operation)(arguments);
}

void bind_runtime(pybind11::module_& module);
void bind_configuration(pybind11::module_& module);
void bind_measuring(pybind11::module_& module);

}  // namespace normdrop
