// Weight, bias and their gradients: in the dtype of x, or float32 beside a half type.
#pragma once

#include "cuda/arithmetic/packs.cuh"
#include "ops/dtype.h"

namespace normdrop::NORMDROP_DEVICE {

// Elements from a vector boundary on.
template <class T, int elements>
__device__ __forceinline__ void widen_vectors(const T* from, wide<T> (&to)[elements]) {
  constexpr int unit = elements < vector_elements<T> ? elements : vector_elements<T>;
#pragma unroll
  for (int i = 0; i < elements; i += unit) {
    const auto pack = load_vector<T, unit>(from + i);
#pragma unroll
    for (int j = 0; j < unit; ++j) to[i + j] = widened(pack[j]);
  }
}

// Weight or bias: in the dtype of x, or float32 beside a half type. Null: not there.
template <class T>
struct Parameter {
  const void* values;
  bool is_float;  // float32 beside x of another dtype

  __device__ __forceinline__ wide<T> at(std::int64_t i, wide<T> otherwise) const {
    if (values == nullptr) return otherwise;
    if constexpr (sizeof(T) == 2) {
      if (is_float) return static_cast<const float*>(values)[i];
    }
    return widened(static_cast<const T*>(values)[i]);
  }

  // `elements` neighbours, of which the first `count` are there. They lie aligned together where
  // the pointer does.
  template <int elements>
  __device__ __forceinline__ void load(std::int64_t i, int count, wide<T> otherwise, bool aligned,
                                       wide<T> (&out)[elements]) const {
    if (elements == 1 || values == nullptr || !aligned || count < elements) {
#pragma unroll
      for (int j = 0; j < elements; ++j) out[j] = j < count ? at(i + j, otherwise) : otherwise;
      return;
    }
    if constexpr (sizeof(T) == 2 && elements % 4 == 0) {
      if (is_float) return widen_vectors(static_cast<const float*>(values) + i, out);
    }
    widen_vectors(static_cast<const T*>(values) + i, out);
  }

  // Whether all vectors can be read as such, in the dtype of x.
  bool plain(bool aligned) const { return values != nullptr && aligned && !is_float; }
};

template <class T>
inline Parameter<T> parameter_of(const void* values, DType dtype) {
  return {values, sizeof(T) == 2 && dtype == DType::float32};
}

// Gradient of a parameter, rounded once.
template <class T>
struct ParameterGradient {
  void* values;
  bool is_float;

  __device__ __forceinline__ void set(std::int64_t i, double value) const {
    if (values == nullptr) return;
    if constexpr (sizeof(T) == 2) {
      if (is_float) {
        static_cast<float*>(values)[i] = rounded<float>(value);
        return;
      }
    }
    static_cast<T*>(values)[i] = rounded<T>(value);
  }
};

template <class T>
inline ParameterGradient<T> parameter_gradient_of(void* values, DType dtype) {
  return {values, sizeof(T) == 2 && dtype == DType::float32};
}

}  // namespace normdrop::NORMDROP_DEVICE
