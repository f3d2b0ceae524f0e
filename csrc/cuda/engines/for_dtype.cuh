// From what is known at run time (a dtype, a length, where an array lies) to types and numbers at
// compile time.
#pragma once

#include "cuda/arithmetic/packs.cuh"
#include "cuda/engines/scratch.cuh"
#include "ops/dtype.h"

namespace normdrop::NORMDROP_DEVICE {

// Calls body(T{}) with the storage type of a dtype.
template <class Body>
void for_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32:
      return body(float{});
    case DType::float64:
      return body(double{});
    case DType::float16:
      return body(float16{});
    case DType::bfloat16:
      return body(bfloat16{});
  }
}

template <auto value>
struct Number {
  static constexpr auto is = value;
};

// Calls body with a truth, as a compile-time value.
template <class Body>
void for_either(bool truth, Body&& body) {
  if (truth) {
    body(Number<true>{});
  } else {
    body(Number<false>{});
  }
}

// Calls body with the number of elements of a pack, a whole vector where every run of elements is a
// multiple of it, else 1, and with whether packs lie on their boundaries, both as compile-time
// values. `lie_aligned` tells the latter for a number.
template <int widest, class LieAligned, class Body>
void for_packs(std::int64_t length, LieAligned&& lie_aligned, Body&& body) {
  if (length % widest != 0) return body(Number<1>{}, Number<true>{});
  for_either(lie_aligned(widest), [&](auto aligned) { body(Number<widest>{}, aligned); });
}

// Of columns: a thread keeps several doubles for each of its columns, so that eight of them would
// not fit.
template <class T>
inline constexpr int column_elements = vector_elements<T> < 4 ? vector_elements<T> : 4;

// What for_packs<column_elements<T>> calls its body with.
template <class T>
int column_unit(std::int64_t columns) {
  return columns % column_elements<T> == 0 ? column_elements<T> : 1;
}

// Whether packs of a unit lie aligned in an array whose packs start at multiples of it.
template <class T>
bool packs_lie_aligned(const void* pointer, std::int64_t stride, int unit) {
  constexpr std::int64_t bytes = sizeof(T);
  return lies_aligned(pointer, stride * bytes, static_cast<int>(bytes) * unit);
}

}  // namespace normdrop::NORMDROP_DEVICE
