// The normalisers of neighbouring columns as arrays, and the pass that normalises rows of them.
#pragma once

#include "cpu/arithmetic/normalise.h"

namespace normdrop::NORMDROP_ISA {

class ColumnNormalisers {
 public:
  explicit ColumnNormalisers(std::int64_t columns)
      : width_(padded(columns)), values_(5 * padded(columns)) {
    for (std::int64_t j = 0; j < 5 * width_; ++j) values_[j] = 0.0;
  }
  template <class T>
  void set(std::int64_t j, const Normaliser& n) {
    values_[j] = -n.mean.high;
    values_[width_ + j] = is_narrow<T> ? -n.mean.low * n.inv_std.high : -n.mean.low;
    values_[2 * width_ + j] = n.inv_std.high;
    values_[3 * width_ + j] = n.inv_std.low;
    values_[4 * width_ + j] = n.scale;
    scaled_ = scaled_ || n.scale != 1.0;
  }
  bool scaled() const { return scaled_; }

  // Where the columns' values are, for a loop to keep in registers.
  struct Arrays {
    const double* values;
    std::int64_t width;
    NORMDROP_LAMBDA_INLINE NormaliserPacks packs(std::int64_t j) const {
      const double* v = values + j;
      return {load(v), load(v + width), load(v + 2 * width), load(v + 3 * width)};
    }
    NORMDROP_LAMBDA_INLINE pack scales(std::int64_t j) const {
      return load(values + 4 * width + j);
    }
  };
  Arrays arrays(std::int64_t begin = 0) const { return {values_.data() + begin, width_}; }

 private:
  std::int64_t width_;
  Scratch<double> values_;
  bool scaled_ = false;
};

// weight_at(j, extent) and bias_at(j, extent) give the parameters of the columns from j on; for
// `finite` see normalise.
template <bool scaled, bool finite, class T, class WeightAt, class BiasAt>
NORMDROP_INLINE void normalise_columns(const T* x, T* y, std::int64_t columns,
                                       const ColumnNormalisers::Arrays& n, WeightAt&& weight_at,
                                       BiasAt&& bias_at) {
  for_each_pack(columns, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    pack value = load(x + j, extent);
    if constexpr (scaled) value = value * n.scales(j);
    const normalised high_low = normalise<T, finite>(value, n.packs(j));
    store(y + j, affine<T>(high_low, weight_at(j, extent), bias_at(j, extent)), extent);
  });
}

template <bool finite = true, class T, class WeightAt, class BiasAt>
NORMDROP_INLINE void normalise_columns(const T* x, T* y, std::int64_t columns,
                                       const ColumnNormalisers& n, std::int64_t begin,
                                       WeightAt&& weight_at, BiasAt&& bias_at) {
  if constexpr (!is_narrow<T>) {
    if (n.scaled()) {
      return normalise_columns<true, finite>(x, y, columns, n.arrays(begin), weight_at, bias_at);
    }
  }
  normalise_columns<false, finite>(x, y, columns, n.arrays(begin), weight_at, bias_at);
}

}  // namespace normdrop::NORMDROP_ISA
