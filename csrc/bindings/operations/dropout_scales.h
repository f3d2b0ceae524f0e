// What a kept element of dropout is multiplied by.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

// The two scales of a threshold: 2^32 / threshold rounded once to float32 and to float64.
struct Scales {
  double narrow;
  double wide;
};

Scales scales_of(std::uint64_t threshold);

// That of arrays of a dtype.
double dropout_scale(std::uint64_t threshold, DType dtype);

}  // namespace normdrop
