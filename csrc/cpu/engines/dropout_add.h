// Dropout and the sum with a residual, before a norm and behind its gradient: the prologue and the
// epilogue (axis.h) of the fused operations of ops/dropout_add_norm.h.
#pragma once

#include "cpu/arithmetic/keep_bits.h"
#include "cpu/engines/axis.h"

namespace normdrop::NORMDROP_ISA {

// Where an element of (outer, reduced, inner) lies in memory, and which word it has.
template <class T>
struct OuterArray {
  T* data;
  std::int64_t outer_stride;
  T* at(std::int64_t outer, std::int64_t begin) const {
    return data + outer * outer_stride + begin;
  }
};

struct DrawOfAxis {
  DropoutDraw draw;
  std::int64_t per_outer;  // elements
  std::uint64_t index(std::int64_t outer, std::int64_t begin) const {
    return draw.first_index + static_cast<std::uint64_t>(outer * per_outer + begin);
  }
};

// residual + x * scale where x is kept, rounded once where the instruction set can.
NORMDROP_INLINE float_pack add_kept(float_pack x, float_pack residual, float scale, unsigned bits) {
  return multiply_add(keep_by_bits(x, bits), splat_float(scale), residual);
}
NORMDROP_INLINE pack add_kept(pack x, pack residual, double scale, unsigned bits) {
  return multiply_add(keep_by_bits(x, bits), splat(scale), residual);
}

// Whether elements of T are added up as floats: with fma, the sum is then rounded once.
template <class T, class Extent>
NORMDROP_INLINE auto load_pack(const T* source, Extent extent) {
  if constexpr (suits_single<T>) {
    return load_float(source, extent);
  } else {
    return load(source, extent);
  }
}

template <class T, class Extent>
NORMDROP_INLINE void store_pack(T* target, float_pack value, Extent extent) {
  store_float(target, value, extent);
}
template <class T, class Extent>
NORMDROP_INLINE void store_pack(T* target, pack value, Extent extent) {
  store(target, value, extent);
}

// Makes sum = residual + dropout(x).
template <class T>
struct DropoutAdd {
  OuterArray<const T> x;
  OuterArray<const T> residual;
  OuterArray<T> sum;
  DrawOfAxis draw;
  wide<T> scale;

  class Worker {
   public:
    Worker(const DropoutAdd& all, std::int64_t end)
        : all_(all), end_(all.draw.index(end, 0)), keep_(all.draw.draw) {}

    void make(std::int64_t outer, Columns columns) {
      for (std::int64_t i = 0; i < columns.length; i += KeepBits::most_elements) {
        const std::int64_t left = columns.length - i;
        make_piece(outer, {columns.begin + i,
                           left < KeepBits::most_elements ? left : KeepBits::most_elements});
      }
    }

   private:
    NORMDROP_LAMBDA_INLINE void make_piece(std::int64_t outer, Columns columns) {
      const T* x = all_.x.at(outer, columns.begin);
      const T* residual = all_.residual.at(outer, columns.begin);
      T* sum = all_.sum.at(outer, columns.begin);
      const wide<T> scale = all_.scale;
      const std::uint64_t index = all_.draw.index(outer, columns.begin);
      const std::int64_t position = keep_.cover(index, columns.length, end_);
      const unsigned char* bytes = keep_.bytes();
      for_each_pack(columns.length, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const auto kept = add_kept(load_pack(x + i, extent), load_pack(residual + i, extent), scale,
                                   bits_at(bytes, position + i));
        store_pack(sum + i, kept, extent);
      });
    }

    const DropoutAdd all_;
    std::uint64_t end_;
    KeepBits keep_;
  };
};

// Adds grad_sum to the norm's gradient, which is that of the residual, and drops of it what was
// dropped of x.
template <class T>
struct DropoutAddGradient {
  OuterArray<const T> grad_sum;  // or null
  OuterArray<T> grad_x;
  DrawOfAxis draw;
  wide<T> scale;

  // Of K neighbouring rows.
  template <int K>
  struct Ending {
    const T* grad_sum[K];
    T* grad_x[K];
    std::int64_t position[K];
    const unsigned char* bytes[K];
    wide<T> scale;

    template <class Extent>
    NORMDROP_LAMBDA_INLINE float_pack total(int k, std::int64_t i, float_pack gradient,
                                            Extent extent) const {
      if (grad_sum[k] == nullptr) return gradient;
      return gradient + load_float(grad_sum[k] + i, extent);
    }
    template <class Extent>
    NORMDROP_LAMBDA_INLINE pack total(int k, std::int64_t i, pack gradient, Extent extent) const {
      if (grad_sum[k] == nullptr) return gradient;
      return gradient + load(grad_sum[k] + i, extent);
    }
    template <class Extent>
    NORMDROP_LAMBDA_INLINE void deliver(int k, std::int64_t i, float_pack gradient,
                                        Extent extent) const {
      const unsigned bits = bits_at(bytes[k], position[k] + i);
      const float_pack dropped = keep_by_bits(gradient * splat_float(scale), bits);
      store_pack(grad_x[k] + i, dropped, extent);
    }
    template <class Extent>
    NORMDROP_LAMBDA_INLINE void deliver(int k, std::int64_t i, pack gradient, Extent extent) const {
      const unsigned bits = bits_at(bytes[k], position[k] + i);
      const pack dropped = keep_by_bits(gradient * splat(static_cast<double>(scale)), bits);
      store_pack(grad_x[k] + i, dropped, extent);
    }
  };

  class Worker {
   public:
    static constexpr std::int64_t most_columns = KeepBits::most_elements;

    Worker(const DropoutAddGradient& all, std::int64_t end)
        : all_(all), end_(all.draw.index(end, 0)) {}

    template <int K>
    Ending<K> columns(std::int64_t outer, Columns columns) {
      Ending<K> ending;
      ending.scale = all_.scale;
      const std::uint64_t index = all_.draw.index(outer, columns.begin);
      // Whole rows that follow each other share their bits.
      const bool whole = columns.begin == 0 && columns.length == all_.draw.per_outer;
      const bool shared = whole && K * columns.length <= KeepBits::most_elements;
      const std::int64_t position = shared ? keep_[0].cover(index, K * columns.length, end_) : 0;
      for (int k = 0; k < K; ++k) {
        const T* grad_sum = all_.grad_sum.data;
        ending.grad_sum[k] = grad_sum ? all_.grad_sum.at(outer + k, columns.begin) : nullptr;
        ending.grad_x[k] = all_.grad_x.at(outer + k, columns.begin);
        ending.bytes[k] = keep_[shared ? 0 : k].bytes();
        ending.position[k] = shared ? position + k * columns.length : cover(k, outer + k, columns);
      }
      return ending;
    }

   private:
    std::int64_t cover(int k, std::int64_t outer, Columns columns) {
      const std::uint64_t index = all_.draw.index(outer, columns.begin);
      return keep_[k].cover(index, columns.length,
                            index + static_cast<std::uint64_t>(columns.length));
    }

    const DropoutAddGradient all_;
    std::uint64_t end_;
    KeepBits keep_[4] = {KeepBits(all_.draw.draw), KeepBits(all_.draw.draw),
                         KeepBits(all_.draw.draw), KeepBits(all_.draw.draw)};
  };

  Worker worker(std::int64_t end) const { return {*this, end}; }
};

// The engines' arguments of the fused operations: those of a norm of `sum`.
template <class T, class Forward>
DropoutAdd<T> dropout_add(const Forward& a) {
  return {.x = {static_cast<const T*>(a.x), a.x_outer_stride},
          .residual = {static_cast<const T*>(a.residual), a.residual_outer_stride},
          .sum = {static_cast<T*>(a.sum), a.sum_outer_stride},
          .draw = {a.draw, a.reduced * a.inner},
          .scale = static_cast<wide<T>>(a.scale)};
}

template <class T, class Backward>
DropoutAddGradient<T> dropout_add_gradient(const Backward& a) {
  return {.grad_sum = {static_cast<const T*>(a.grad_sum), a.grad_sum_outer_stride},
          .grad_x = {static_cast<T*>(a.grad_x), a.grad_x_outer_stride},
          .draw = {a.draw, a.reduced * a.inner},
          .scale = static_cast<wide<T>>(a.scale)};
}

template <class T, class Forward>
AxisForward<T> axis_forward_of_sum(const Forward& a, double* mean) {
  return {.outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .x_outer_stride = a.sum_outer_stride,
          .y_outer_stride = a.y_outer_stride,
          .eps = a.eps,
          .x = static_cast<const T*>(a.sum),
          .weight = static_cast<const wide<T>*>(a.weight),
          .bias = static_cast<const wide<T>*>(a.bias),
          .y = static_cast<T*>(a.y),
          .mean = mean,
          .inv_std = a.inv_std};
}

template <class T, class Backward>
AxisBackward<T> axis_backward_of_sum(const Backward& a, const double* mean) {
  return {.outer = a.outer,
          .reduced = a.reduced,
          .inner = a.inner,
          .grad_output_outer_stride = a.grad_y_outer_stride,
          .x_outer_stride = a.sum_outer_stride,
          .grad_x_outer_stride = a.grad_residual_outer_stride,
          .grad_output = static_cast<const T*>(a.grad_y),
          .x = static_cast<const T*>(a.sum),
          .mean = mean,
          .inv_std = a.inv_std,
          .weight = static_cast<const wide<T>*>(a.weight),
          .grad_x = static_cast<T*>(a.grad_residual),
          .grad_weight = static_cast<wide<T>*>(a.grad_weight),
          .grad_bias = static_cast<wide<T>*>(a.grad_bias)};
}

}  // namespace normdrop::NORMDROP_ISA
