// A norm over the middle axis of (outer, reduced, inner), as the engines take it: rows.h where
// inner == 1, column_tiles.h else. Engines refer to these arguments (a copy of what was just stored
// field by field waits for the stores: 15 ns of a call on (4, 16)); loops copy what they use, since a
// store through a pointer to T could otherwise change what the compiler holds of it.
#pragma once

#include <cstddef>

#include "cpu/arithmetic/gradients.h"
#include "cpu/arithmetic/normaliser.h"
#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {

template <class T>
struct AxisForward {
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t x_outer_stride;
  std::int64_t y_outer_stride;
  double eps;
  const T* x;
  const wide<T>* weight;  // (reduced,) or null
  const wide<T>* bias;    // (reduced,) or null
  T* y;
  double* mean;     // (outer, inner) or null
  double* inv_std;  // (outer, inner) or null

  NORMDROP_LAMBDA_INLINE void report(std::int64_t set, const Normaliser& n) const {
    if (mean != nullptr) mean[set] = reported_mean(n);
    if (inv_std != nullptr) inv_std[set] = reported_inv_std(n);
  }
};

template <class T>
struct AxisBackward {
  std::int64_t outer;
  std::int64_t reduced;
  std::int64_t inner;
  std::int64_t grad_output_outer_stride;
  std::int64_t x_outer_stride;
  std::int64_t grad_x_outer_stride;
  const T* grad_output;
  const T* x;
  const double* mean;  // null where the statistic is not centred
  const double* inv_std;
  const wide<T>* weight;  // (reduced,) or null
  T* grad_x;
  wide<T>* grad_weight;  // (reduced,) or null
  wide<T>* grad_bias;    // (reduced,) or null

  bool wants_parameters() const { return grad_weight != nullptr || grad_bias != nullptr; }
  // Without a mean of x, the gradient has no mean of g.
  MeanFactors mean_factors() const {
    const double reciprocal = 1.0 / static_cast<double>(reduced);
    return {mean != nullptr ? reciprocal : 0.0, reciprocal};
  }
};

// Elements [begin, begin + length) of a row; where inner > 1, of an outer index.
struct Columns {
  std::int64_t begin;
  std::int64_t length;
};

// What comes before the statistic: makes elements of x first, while they are in cache. By pointers to
// functions, which are called once for a row or a chunk, so that an engine is compiled once.
class Prologue {
 public:
  Prologue() = default;  // x is there

  // `Maker` has a Worker(maker, end) with make(outer, columns), which may be copied as bytes.
  template <class Maker>
  explicit Prologue(const Maker& maker)
      : maker_(&maker),
        begin_([](const void* all, std::int64_t end, void* worker) {
          using Made = typename Maker::Worker;
          static_assert(__is_trivially_copyable(Made) && sizeof(Made) <= worker_bytes);
          const Made made(*static_cast<const Maker*>(all), end);
          std::memcpy(worker, &made, sizeof made);
        }),
        make_([](void* worker, std::int64_t outer, Columns columns) {
          static_cast<typename Maker::Worker*>(worker)->make(outer, columns);
        }) {}

  static constexpr std::size_t worker_bytes = 1024;

  // A task's own, for outer indices below `end`; it is asked for elements in rising order.
  class Worker {
   public:
    Worker(const Prologue& prologue, std::int64_t end) : make_(prologue.make_) {
      if (make_ != nullptr) prologue.begin_(prologue.maker_, end, worker_);
    }
    NORMDROP_LAMBDA_INLINE void make(std::int64_t outer, Columns columns) {
      if (make_ != nullptr) make_(worker_, outer, columns);
    }

   private:
    void (*make_)(void*, std::int64_t, Columns);
    alignas(64) std::byte worker_[worker_bytes];
  };
  Worker worker(std::int64_t end) const { return {*this, end}; }

 private:
  const void* maker_ = nullptr;
  void (*begin_)(const void*, std::int64_t, void*) = nullptr;
  void (*make_)(void*, std::int64_t, Columns) = nullptr;
};

// Normalises x over its middle axis: normalise_axis.h, which layer_norm.cpp compiles for Moments and
// rms_norm.cpp for Squares.
struct Moments;
struct Squares;
template <class Statistic, class T>
void normalise_axis(const AxisForward<T>& a, const Prologue& prologue = {});

// The gradients of both: axis_gradients.h, which layer_norm_backward.cpp compiles for NoEpilogue and
// dropout_add_layer_norm_backward.cpp for DropoutAddGradient.
template <class T, class Epilogue>
void axis_gradients(const AxisBackward<T>& a, const Epilogue& epilogue);

// One line of C++ for every type of element.
#define NORMDROP_EACH_ELEMENT(line) line(float) line(double) line(float16) line(bfloat16)

// What becomes of the gradient of x before it is rounded. A task has a worker of its own for outer
// indices below `end`. Of K neighbouring rows it makes an ending:
//   total(k, i, gradient, extent)      the gradient to store at element i of the columns
//   deliver(k, i, gradient, extent)    the same gradient, to where else it belongs
struct NoEpilogue {
  struct Ending {
    template <class Pack, class Extent>
    NORMDROP_LAMBDA_INLINE Pack total(int, std::int64_t, Pack gradient, Extent) const {
      return gradient;
    }
    template <class Pack, class Extent>
    NORMDROP_LAMBDA_INLINE void deliver(int, std::int64_t, const Pack&, Extent) const {}
  };
  struct Worker {
    static constexpr std::int64_t most_columns = INT64_MAX / 2;
    template <int K>
    NORMDROP_LAMBDA_INLINE Ending columns(std::int64_t, Columns) const {
      return {};
    }
  };
  NORMDROP_LAMBDA_INLINE Worker worker(std::int64_t) const { return {}; }
};

}  // namespace normdrop::NORMDROP_ISA
