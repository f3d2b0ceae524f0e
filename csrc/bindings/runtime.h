// Which backend a call runs on, and how a kernel is called: without the GIL where that pays, in
// the default floating-point environment.
#pragma once

#include <pybind11/pybind11.h>

#include "cpu/parallel.h"
#include "registry.h"

namespace normdrop {

// The backend of the current context (`with use_backend(...)`) or of the process.
const Backend& active_backend();

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

template <class Arguments>
void call(void (*OpTable::*operation)(const Arguments&), const Arguments& arguments,
          std::int64_t elements) {
  const OpTable& table = *active_backend().table;
  const ReleasedGil released(elements >= keep_gil_below);
  const cpu::DefaultFloatEnvironment environment;
  (table.*operation)(arguments);
}

void bind_runtime(pybind11::module_& module);

}  // namespace normdrop
