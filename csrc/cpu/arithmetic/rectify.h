// The parametric rectifier on packs: of floats, and of doubles where the elements are.
#pragma once

#include "cpu/arithmetic/double_double.h"
#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {

// Elements of T as they are multiplied: in the type of their parameters.
template <class T, class Extent>
NORMDROP_INLINE auto load_wide(const T* source, Extent extent) {
  if constexpr (is_narrow<T>) {
    return load_float(source, extent);
  } else {
    return load(source, extent);
  }
}

template <class T>
NORMDROP_INLINE auto splat_wide(wide<T> value) {
  if constexpr (is_narrow<T>) {
    return splat_float(value);
  } else {
    return splat(value);
  }
}

// `value` where x > 0, else value * weight: for x itself, and for its gradient.
NORMDROP_INLINE float_pack rectify(float_pack x, float_pack value, float_pack weight) {
  const float_pack product = value * weight;
  NORMDROP_EACH_FLOAT_PART { value.part[p] = x.part[p] > f32{} ? value.part[p] : product.part[p]; }
  return value;
}
NORMDROP_INLINE pack rectify(pack x, pack value, pack weight) {
  const pack product = value * weight;
  NORMDROP_EACH_PART { value.part[p] = x.part[p] > f64{} ? value.part[p] : product.part[p]; }
  return value;
}

// g * x where x is not above 0: a term of the gradient of weight. In double, without a rounding
// unless the elements are doubles themselves.
NORMDROP_INLINE pack weight_term(pack x, pack g) {
  NORMDROP_EACH_PART {
    const f64 product = g.part[p] * x.part[p];
    g.part[p] = x.part[p] > f64{} ? f64{} : product;
  }
  return g;
}
NORMDROP_INLINE pack as_doubles(pack value) { return value; }
NORMDROP_INLINE pack as_doubles(float_pack value) { return widen(value); }

template <class Extent>
NORMDROP_INLINE void store(double* target, pack value, Extent extent, Writing) {
  store(target, value, extent);
}

}  // namespace normdrop::NORMDROP_ISA
