// float16, bfloat16 and the bits of numbers.
#pragma once

#include <cstdint>
#include <cstring>

namespace normdrop::NORMDROP_DEVICE {

struct float16 {
  std::uint16_t bits;
};

struct bfloat16 {
  std::uint16_t bits;
};

namespace number_bits {

template <class To, class From>
__host__ __device__ __forceinline__ To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace number_bits

__host__ __device__ __forceinline__ std::uint32_t bits_of(float value) {
  return number_bits::same_bits<std::uint32_t>(value);
}

__host__ __device__ __forceinline__ std::uint64_t bits_of(double value) {
  return number_bits::same_bits<std::uint64_t>(value);
}

__host__ __device__ __forceinline__ float float_of(std::uint32_t bits) {
  return number_bits::same_bits<float>(bits);
}

__host__ __device__ __forceinline__ double double_of(std::uint64_t bits) {
  return number_bits::same_bits<double>(bits);
}

__device__ __forceinline__ float to_float(float value) { return value; }

__device__ __forceinline__ float to_float(bfloat16 value) {
  return float_of(static_cast<std::uint32_t>(value.bits) << 16);
}

__device__ __forceinline__ float to_float(float16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}

__device__ __forceinline__ double to_double(double value) { return value; }

template <class T>
__device__ __forceinline__ double to_double(T value) {
  return to_float(value);
}

namespace rounding {

// To float, truncated, and its last bit set where anything was cut off. Since that bit lies beyond
// those of a half type, rounding the result is rounding the double, once.
__device__ __forceinline__ float truncated_and_marked(double value) {
  const float truncated = __double2float_rz(value);
  const bool exact = static_cast<double>(truncated) == value;
  return exact ? truncated : float_of(bits_of(truncated) | 1u);
}

template <class T>
struct Rounded {
  template <class From>
  static __device__ __forceinline__ T from(From value) {
    return static_cast<T>(value);
  }
};

template <>
struct Rounded<float16> {
  static __device__ __forceinline__ float16 from(float value) {
    float16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
  }
  static __device__ __forceinline__ float16 from(double value) {
    return from(truncated_and_marked(value));
  }
};

template <>
struct Rounded<bfloat16> {
  static __device__ __forceinline__ bfloat16 from(float value) {
    bfloat16 result;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t to_even = 0x7FFFu + (bits >> 16 & 1u);
    result.bits = static_cast<std::uint16_t>(value != value ? 0x7FFFu : (bits + to_even) >> 16);
#endif
    return result;
  }
  static __device__ __forceinline__ bfloat16 from(double value) {
    return from(truncated_and_marked(value));
  }
};

}  // namespace rounding

// To the nearest, to even on a tie; from double in one step.
template <class T>
__device__ __forceinline__ T rounded(float value) {
  return rounding::Rounded<T>::from(value);
}

template <class T>
__device__ __forceinline__ T rounded(double value) {
  return rounding::Rounded<T>::from(value);
}

}  // namespace normdrop::NORMDROP_DEVICE
