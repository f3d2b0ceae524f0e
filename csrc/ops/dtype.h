// Element types that an operation may be asked for.
#pragma once

namespace normdrop {

enum class DType { float32, float64 };

}  // namespace normdrop
