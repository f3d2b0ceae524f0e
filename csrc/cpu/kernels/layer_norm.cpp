// Layer norm (Ba, Kiros, Hinton 2016) of x (outer, reduced, inner) over its middle axis.
//   forward   y = (x - mean) * inv_std * weight + bias
//   backward  grad_x = inv_std * (g - mean(g) - x^ * mean(g * x^)),  g = grad_output * weight
//             grad_weight = sum grad_output * x^,  grad_bias = sum grad_output
// inner == 1: a row at a time, statistics and output while it is in cache; rows are tasks, or
//   chunks of rows where rows are few and long. inner > 1: tiles of neighbouring columns.
// Parameter gradients: fixed slots (ranges of rows, by shape alone), merged in order.
// Sums are double; float32 rows of ordinary size take single precision for what is written, with
//   the roundings that matter carried along (normalise.h, float_backward.h).
#include "cpu/arithmetic/mean_and_variance.h"
#include "cpu/engines/column_tiles_backward.h"
#include "cpu/engines/layer_norm_backward.h"
#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void report(const LayerNormForward& a, std::int64_t index, const Normaliser& n) {
  if (a.mean != nullptr) a.mean[index] = reported_mean(n);
  if (a.inv_std != nullptr) a.inv_std[index] = reported_inv_std(n);
}

// float32 rows of one chunk: the scalars of several rows at once, so that their divisions and
// square roots overlap. A row's bits do not depend on which rows share its batch.
template <class T, class Length>
NORMDROP_INLINE void forward_few_rows(const LayerNormForward& a, std::int64_t first,
                                      std::int64_t rows, Length length, Writing how) {
  constexpr int most = cpu::tuning::short_rows_at_once;
  const float* weight = static_cast<const float*>(a.weight);
  const float* bias = static_cast<const float*>(a.bias);
  const T* x = static_cast<const T*>(a.x) + first * a.x_outer_stride;
  T* y = static_cast<T*>(a.y) + first * a.y_outer_stride;
  const std::int64_t x_stride = a.x_outer_stride;
  const std::int64_t y_stride = a.y_outer_stride;
  double centre[most] = {};
  double total[most] = {};
  double square[most] = {};
  for (std::int64_t r = 0; r < rows; ++r) {
    // The line that this row shares with the next one is not streamed: waiting for it would hold up
    // the lines that are.
    if (how.head > 0) __builtin_prefetch(y + r * y_stride + length.length, 1);
    const DeviationSums sums =
        deviation_sums<false>(Runs<T>{x + r * x_stride, 1, length.length, 0}, length);
    centre[r] = sums.centre;
    total[r] = sums.total;
    square[r] = sums.square;
  }
  const double count = static_cast<double>(length.length);
  double offset[most];
  double rest[most];
  double var[most];
  double inv_std[most];
  const auto finish_row = [&](std::int64_t r) NORMDROP_LAMBDA_INLINE {
    const MeanParts mean = mean_about(centre[r], total[r], count);
    offset[r] = mean.offset;
    rest[r] = mean.rest;
    var[r] = squares_about_mean(square[r], total[r], mean.offset) / count;
    const double sum = var[r] + a.eps;
    inv_std[r] = sum == 0.0 ? 0.0 : 1.0 / __builtin_sqrt(sum);
  };
  if constexpr (Length::is_short) {
#pragma omp simd
    for (int r = 0; r < most; ++r) finish_row(r);
  } else {
    for (std::int64_t r = 0; r < rows; ++r) finish_row(r);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* from = x + r * x_stride;
    T* to = y + r * y_stride;
    const MeanParts mean{centre[r], offset[r], rest[r]};
    const SingleNormaliser single = single_normaliser(mean, inv_std[r]);
    Normaliser n{{mean.centre, mean.offset}, {inv_std[r], 0.0}, var[r], 1.0};
    if (__builtin_expect(!is_finite(var[r]), 0)) {
      n = normaliser_of(Runs<T>{from, 1, length.length, 0}, a.eps);
    }
    report<T>(a, first + r, n);
    if constexpr (suits_single<T>) {
      if (single.usable && is_finite(var[r])) {
        normalise_run_in_single(from, to, length, single, weight, bias, how);
        continue;
      }
    }
    if (is_finite(var[r])) n.mean = sum_of(mean);
    normalise_run(from, to, length.length, n, weight, bias, how);
  }
}

template <class T>
Writing writing_of_rows(const LayerNormForward& a) {
  return writing_of<T>(a.y, a.reduced, a.y_outer_stride, a.outer * a.reduced);
}

template <class T>
void forward_short_rows(const LayerNormForward& a) {
  const std::int64_t fitting = cpu::tuning::short_rows_elements / a.reduced;
  const std::int64_t most = cpu::tuning::short_rows_at_once;
  const std::int64_t per_task = fitting < 1 ? 1 : (fitting < most ? fitting : most);
  const std::int64_t tasks = (a.outer + per_task - 1) / per_task;
  const Writing how = writing_of_rows<T>(a);
  with_length_of<T, false>(a.reduced, [&](auto length) {
    parallel_for(tasks, a.reduced * per_task, [&](std::int64_t task) {
      const std::int64_t first = task * per_task;
      const std::int64_t left = a.outer - first;
      forward_few_rows<T>(a, first, left < per_task ? left : per_task, length, how);
    });
  });
}

template <class T>
void forward_rows(const LayerNormForward& a) {
  const wide<T>* weight = static_cast<const wide<T>*>(a.weight);
  const wide<T>* bias = static_cast<const wide<T>*>(a.bias);
  if constexpr (is_narrow<T>) {
    if (a.reduced <= chunk_elements<T>) return forward_short_rows<T>(a);
  }
  const Writing how = writing_of_rows<T>(a);
  parallel_for(a.outer, a.reduced, [&](std::int64_t row) {
    const T* x = static_cast<const T*>(a.x) + row * a.x_outer_stride;
    T* y = static_cast<T*>(a.y) + row * a.y_outer_stride;
    const Normaliser n = normaliser_of(Runs<T>{x, 1, a.reduced, 0}, a.eps);
    report<T>(a, row, n);
    normalise_run(x, y, a.reduced, n, weight, bias, how);
  });
}

// Few long rows: the chunks of all rows are the tasks. The tree is that of run_moments.
template <class T>
void forward_chunks(const LayerNormForward& a) {
  const ChunkPlan plan = plan_chunks<T>(1, a.reduced);
  Scratch<Moments> chunk(a.outer * plan.chunks);
  Scratch<Normaliser> normalisers(a.outer);
  const auto row_runs = [&](std::int64_t row) {
    return Runs<T>{static_cast<const T*>(a.x) + row * a.x_outer_stride, 1, a.reduced, 0};
  };
  parallel_for(a.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
    const Runs<T> runs = row_runs(task / plan.chunks);
    chunk[task] = chunk_moments<false>(chunk_of(runs, plan, task % plan.chunks));
  });
  for (std::int64_t row = 0; row < a.outer; ++row) {
    const Moments moments = merge(&chunk[row * plan.chunks], plan.chunks);
    normalisers[row] = finish(moments, row_runs(row), a.eps);
    report<T>(a, row, normalisers[row]);
  }
  const wide<T>* weight = static_cast<const wide<T>*>(a.weight);
  const wide<T>* bias = static_cast<const wide<T>*>(a.bias);
  const Writing how = writing_of_rows<T>(a);
  parallel_for(a.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
    const std::int64_t row = task / plan.chunks;
    const std::int64_t begin = task % plan.chunks * plan.length_per_chunk;
    const Runs<T> part = chunk_of(row_runs(row), plan, task % plan.chunks);
    T* y = static_cast<T*>(a.y) + row * a.y_outer_stride + begin;
    normalise_run(part.x, y, part.length, normalisers[row], weight ? weight + begin : nullptr,
                  bias ? bias + begin : nullptr, how);
  });
}

template <class T>
void forward_columns(const LayerNormForward& a) {
  forward_column_tiles<T>(
      {a.outer, a.reduced, a.inner}, {static_cast<const T*>(a.x), a.x_outer_stride},
      {static_cast<T*>(a.y), a.y_outer_stride}, static_cast<const wide<T>*>(a.weight),
      static_cast<const wide<T>*>(a.bias), MeanAndVariance{a.eps},
      [=](std::int64_t set, const Normaliser& n) { report<T>(a, set, n); });
}

template <class T>
void forward(const LayerNormForward& a) {
  if (a.reduced == 0) {
    for (std::int64_t i = 0; i < a.outer * a.inner; ++i) {
      if (a.mean != nullptr) a.mean[i] = __builtin_nan("");
      if (a.inv_std != nullptr) a.inv_std[i] = __builtin_nan("");
    }
    return;
  }
  if (a.outer == 0 || a.inner == 0) return;
  const bool long_rows = plan_chunks<T>(1, a.reduced).chunks > 16;
  if (a.inner != 1) return forward_columns<T>(a);
  if (long_rows && a.outer < cpu::thread_count() * 4) return forward_chunks<T>(a);
  forward_rows<T>(a);
}

// Backward, inner == 1: rows in slots, each with its own partial parameter gradients.
template <class T>
void backward_rows(const LayerNormBackward& a) {
  const bool parameters = a.grad_weight != nullptr || a.grad_bias != nullptr;
  const Slots slots = plan_slots(a.outer, a.reduced);
  const std::int64_t width = padded(a.reduced) + pack_size;        // a last pack may begin anywhere
  const std::int64_t per_slot = (sizeof(T) == 8 ? 4 : 2) * width;  // float64: and their errors
  Scratch<double> partial(parameters ? slots.count * per_slot : 0);
  bool weight_is_plain = true;
  if constexpr (suits_single<T>) {
    weight_is_plain =
        a.weight == nullptr || are_plain_weights(static_cast<const float*>(a.weight), a.reduced);
  }
  parallel_for(slots.count, slots.rows * a.reduced, [&](std::int64_t slot) {
    double* grad_weight = parameters ? &partial[slot * per_slot] : nullptr;
    double* grad_bias = parameters ? grad_weight + width : nullptr;
    if (parameters) fill_zero(grad_weight, per_slot);
    const std::int64_t end = slots.end(slot, a.outer);
    for (std::int64_t row = slots.begin(slot); row < end; row += rows_together) {
      const std::int64_t left = end - row;
      const RowsBackward<T> rows{a, row, weight_is_plain};
      if (left >= rows_together) {
        rows.template run<rows_together>(grad_weight, grad_bias);
      } else {
        for (std::int64_t k = 0; k < left; ++k) {
          RowsBackward<T>{a, row + k, weight_is_plain}.template run<1>(grad_weight, grad_bias);
        }
      }
    }
    if (parameters) fold_errors<T>(grad_weight, 2 * width, 2 * width);
  });
  if (parameters) {
    merge_slots<T>(partial.data(), slots.count, per_slot, a.reduced,
                   static_cast<wide<T>*>(a.grad_weight));
    merge_slots<T>(partial.data() + width, slots.count, per_slot, a.reduced,
                   static_cast<wide<T>*>(a.grad_bias));
  }
}

// Backward, inner == 1, rows too long for L2: row sums by chunks, then all rows of a range of
// columns at a time, which needs no partial parameter gradients.
template <class T>
void backward_long_rows(const LayerNormBackward& a) {
  const ChunkPlan plan = plan_chunks<T>(1, a.reduced);
  Scratch<RowSums> sums(a.outer * plan.chunks);
  parallel_for(a.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
    const std::int64_t begin = task % plan.chunks * plan.length_per_chunk;
    const std::int64_t left = a.reduced - begin;
    sums[task] = RowsBackward<T>{a, task / plan.chunks}.sums(
        begin, left < plan.length_per_chunk ? left : plan.length_per_chunk);
  });
  for (std::int64_t row = 0; row < a.outer; ++row) {
    sums[row * plan.chunks] = sum_in_order(&sums[row * plan.chunks], plan.chunks);
  }
  const std::int64_t width = 512;
  const std::int64_t tiles = (a.reduced + width - 1) / width;
  parallel_for(tiles, a.outer * width, [&](std::int64_t tile) {
    const std::int64_t begin = tile * width;
    const std::int64_t length = a.reduced - begin < width ? a.reduced - begin : width;
    double accumulators[4 * 512] = {};
    for (std::int64_t row = 0; row < a.outer; ++row) {
      RowsBackward<T>{a, row}.template write<1>(begin, length, &sums[row * plan.chunks],
                                                accumulators, accumulators + width);
    }
    fold_errors<T>(accumulators, 2 * width, 2 * width);
    wide<T>* grad_weight = static_cast<wide<T>*>(a.grad_weight);
    wide<T>* grad_bias = static_cast<wide<T>*>(a.grad_bias);
    for (std::int64_t j = 0; j < length; ++j) {
      if (grad_weight) grad_weight[begin + j] = static_cast<wide<T>>(accumulators[j]);
      if (grad_bias) grad_bias[begin + j] = static_cast<wide<T>>(accumulators[width + j]);
    }
  });
}

template <class T>
void backward_columns(const LayerNormBackward& a) {
  const double reciprocal = 1.0 / static_cast<double>(a.reduced);
  const ColumnTileGradient<T> all{static_cast<const T*>(a.grad_output),
                                  static_cast<const T*>(a.x),
                                  static_cast<T*>(a.grad_x),
                                  a.mean,
                                  a.inv_std,
                                  static_cast<const wide<T>*>(a.weight),
                                  a.reduced,
                                  a.inner,
                                  a.inner,
                                  {reciprocal, reciprocal}};
  backward_column_tiles<T>({all, a.outer, a.grad_output_outer_stride, a.x_outer_stride,
                            a.grad_x_outer_stride, static_cast<wide<T>*>(a.grad_weight),
                            static_cast<wide<T>*>(a.grad_bias)});
}

template <class T>
void backward(const LayerNormBackward& a) {
  if (a.outer == 0 || a.inner == 0 || a.reduced == 0) {
    fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.reduced : 0);
    fill_zero(static_cast<wide<T>*>(a.grad_bias), a.grad_bias ? a.reduced : 0);
    return;
  }
  if (a.inner != 1) return backward_columns<T>(a);
  constexpr std::int64_t limit = cpu::tuning::long_row_bytes / static_cast<std::int64_t>(sizeof(T));
  a.reduced > limit ? backward_long_rows<T>(a) : backward_rows<T>(a);
}

}  // namespace

void layer_norm_forward(const LayerNormForward& arguments) {
  with_wide_parameters(arguments, arguments.reduced, [](const LayerNormForward& a) {
    for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
  });
}

void layer_norm_backward(const LayerNormBackward& arguments) {
  with_wide_gradients(arguments, arguments.reduced, [](const LayerNormBackward& a) {
    for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
