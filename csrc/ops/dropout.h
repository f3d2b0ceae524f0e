// Dropout by a counter-based generator: element i is kept where word(i) < threshold, with
//   word(i) = philox4x32_10(counter = (i / 4, call), key = seed)[i % 4]
// and a kept element is multiplied by scale. Forward and backward are the same function.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

struct DropoutDraw {
  std::uint64_t seed;
  std::uint64_t call;
  std::uint64_t threshold;    // kept iff word < threshold; 0 .. 2^32
  std::uint64_t first_index;  // logical index of element 0
};

struct Dropout {
  DType dtype;
  std::int64_t count;
  DropoutDraw draw;
  double scale;   // 2^32 / threshold rounded to the arithmetic type, 0 where threshold is 0
  const void* x;  // (count,)
  void* y;        // (count,); may be x itself
  // On a device: (seed, call) in its memory, read by the kernel instead of the draw's; or null.
  const std::uint64_t* device_draw;
  void* stream;  // of a device; the CPU backends ignore it
};

struct DropoutKeep {
  std::int64_t count;
  DropoutDraw draw;
  std::uint8_t* keep;                // (count,), 1 where kept
  const std::uint64_t* device_draw;  // as in Dropout
  void* stream;
};

}  // namespace normdrop
