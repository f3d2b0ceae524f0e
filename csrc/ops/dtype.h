// Element types that an operation may be asked for.
#pragma once

#include <cstdint>

namespace normdrop {

enum class DType { float32, float64, float16, bfloat16 };

constexpr std::int64_t bytes_of(DType dtype) {
  return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2;
}

}  // namespace normdrop
