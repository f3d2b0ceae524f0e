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
  double scale;   // 2^32 / threshold rounded to dtype, 0 where threshold is 0
  const void* x;  // (count,)
  void* y;        // (count,); may be x itself
};

struct DropoutKeep {
  std::int64_t count;
  DropoutDraw draw;
  std::uint8_t* keep;  // (count,), 1 where kept
};

}  // namespace normdrop
