// A plain copy with the package's own threads: the yardstick of the benchmark.
#pragma once

#include <cstdint>

namespace normdrop {

struct Copy {
  std::int64_t bytes;
  bool streaming;  // stores that bypass the caches, where the instruction set has them
  const void* source;
  void* target;
  void* stream;  // of a device; the CPU backends ignore it
};

}  // namespace normdrop
