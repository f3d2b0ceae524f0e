// The libraries whose arrays are known by name: their current stream, their allocator, and how an
// array of theirs is made around memory of ours. They are only used where already imported.
#pragma once

#include <pybind11/pybind11.h>

namespace normdrop {

namespace py = pybind11;

enum class Producer { torch, cupy, jax, ours, other };

Producer producer_of(py::handle object);

// The library's current stream on that device; null is the default stream, also for those that
// have no such notion.
void* current_stream(Producer producer, int device);

// Whether the library orders its own reuse of memory after work on its current stream.
bool frees_in_stream_order(Producer producer);

}  // namespace normdrop
