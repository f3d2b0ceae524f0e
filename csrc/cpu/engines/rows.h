// Normalises rows of neighbouring elements: y = (x - mean) * inv_std * weight + bias, by a statistic
// (statistic.h) and after a prologue (axis.h).
//   A row at a time, statistic and output while it is in cache; of short rows several at once; rows
//   are tasks, or chunks of rows where rows are few and long. Bits follow from a row alone.
#pragma once

#include "cpu/arithmetic/normalise.h"
#include "cpu/arithmetic/run_parameter.h"
#include "cpu/arithmetic/scalars_of_rows.h"
#include "cpu/engines/axis.h"

namespace normdrop::NORMDROP_ISA {

template <class Statistic, class T>
class Rows {
 public:
  Rows(const AxisForward<T>& arguments, const Prologue& prologue)
      : a_(arguments),
        prologue_(prologue),
        weight_(a_.weight, a_.reduced),
        bias_(a_.bias, a_.reduced),
        how_(writing_of<T>(a_.y, a_.reduced, a_.y_outer_stride, a_.outer * a_.reduced)),
        lines_differ_(a_.y_outer_stride % pack_size != 0 &&
                      a_.reduced >= cpu::tuning::cut_run_elements) {}

  void run() const {
    using namespace cpu::tuning;
    const bool long_rows = plan_chunks<T>(1, a_.reduced).chunks > chunks_of_long_row;
    if (long_rows && a_.outer < cpu::thread_count() * sets_per_thread) return in_chunks();
    if constexpr (is_narrow<T>) {
      if (a_.reduced <= chunk_elements<T>) return several_at_once();
    }
    one_by_one();
  }

 private:
  Runs<T> runs_of(std::int64_t row) const {
    return {a_.x + row * a_.x_outer_stride, 1, a_.reduced, 0};
  }
  T* y_of(std::int64_t row) const { return a_.y + row * a_.y_outer_stride; }

  // Long rows whose cache lines begin at different elements are each asked where.
  NORMDROP_LAMBDA_INLINE Writing writing_at(const T* y) const {
    if (!lines_differ_) return how_;
    return writing_of<T>(y, a_.reduced, 0, a_.outer * a_.reduced);
  }

  // A float32 row has one double for inv_std, whether it is short or long; see SpreadOfRows.
  Normaliser normaliser_of_row(std::int64_t row, const Statistic& statistic) const {
    Normaliser n = finish(statistic, runs_of(row), a_.eps);
    if constexpr (is_narrow<T>) n.inv_std.low = 0.0;
    return n;
  }

  void several_at_once() const {
    const std::int64_t fitting = cpu::tuning::short_rows_elements / a_.reduced;
    const std::int64_t per_task =
        fitting < 1 ? 1 : (fitting < rows_at_once ? fitting : rows_at_once);
    const std::int64_t tasks = (a_.outer + per_task - 1) / per_task;
    with_length_of<T, false>(a_.reduced, [&](auto length) {
      parallel_for(tasks, a_.reduced * per_task, [&](std::int64_t task) {
        const std::int64_t first = task * per_task;
        const std::int64_t left = a_.outer - first;
        few_rows(first, left < per_task ? left : per_task, length);
      });
    });
  }

  // Rows of one chunk each.
  template <class Length>
  NORMDROP_LAMBDA_INLINE void few_rows(std::int64_t first, std::int64_t rows, Length length) const {
    const wide<T>* weight = weight_.from(0);
    const wide<T>* bias = bias_.from(0);
    const std::int64_t x_stride = a_.x_outer_stride;
    const std::int64_t y_stride = a_.y_outer_stride;
    const T* x = a_.x + first * x_stride;
    T* y = a_.y + first * y_stride;
    auto worker = prologue_.worker(first + rows);
    ScalarsOfRows<Statistic> scalars;
    for (std::int64_t r = 0; r < rows; ++r) {
      // The line that this row shares with the next one is not streamed: waiting for it would hold
      // up the lines that are.
      if (how_.head > 0) __builtin_prefetch(y + r * y_stride + length.length, 1);
      worker.make(first + r, {0, length.length});
      scalars.add(r, x + r * x_stride, length);
    }
    scalars.finish(rows, length.length, a_.eps);
    for (std::int64_t r = 0; r < rows; ++r) {
      const T* from = x + r * x_stride;
      T* to = y + r * y_stride;
      const Writing how = writing_at(to);
      const double var = scalars.spread().var[r];
      const double inv_std = scalars.spread().inv_std[r];
      const MeanParts mean = scalars.mean(r);
      const SingleNormaliser single = single_normaliser<Statistic::centred>(mean, inv_std);
      Normaliser n{{mean.centre, mean.offset}, {inv_std, 0.0}, var, 1.0};
      if (__builtin_expect(!is_finite(var), 0)) {
        n = normaliser_of<Statistic>(Runs<T>{from, 1, length.length, 0}, a_.eps);
      }
      a_.report(first + r, n);
      if constexpr (suits_single<T>) {
        if (single.usable && is_finite(var)) {
          normalise_run_in_single<Statistic::centred>(from, to, length, single, weight, bias, how);
          continue;
        }
      }
      if (is_finite(var)) n.mean = sum_of(mean);
      normalise_run<Statistic::centred>(from, to, length.length, n, weight, bias, how);
    }
  }

  // Elements [begin, begin + length) of a row.
  void write_run(std::int64_t row, std::int64_t begin, std::int64_t length,
                 const Normaliser& n) const {
    constexpr std::int64_t piece = RunParameter<T>::piece;
    const bool whole = weight_.is_given() && bias_.is_given();
    const std::int64_t end = begin + length;
    for (; begin < end; begin += piece) {
      const std::int64_t left = end - begin;
      normalise_run<Statistic::centred>(
          runs_of(row).x + begin, y_of(row) + begin, whole || left < piece ? left : piece, n,
          weight_.from(begin), bias_.from(begin), writing_at(y_of(row)));
      if (whole) return;
    }
  }

  void one_by_one() const {
    parallel_for(a_.outer, a_.reduced, [&](std::int64_t row) {
      const Runs<T> runs = runs_of(row);
      auto worker = prologue_.worker(row + 1);
      const auto prepare = [&](std::int64_t begin, std::int64_t length)
                               NORMDROP_LAMBDA_INLINE { worker.make(row, {begin, length}); };
      const Normaliser n = normaliser_of_row(row, statistic_of<Statistic, false>(runs, prepare));
      a_.report(row, n);
      write_run(row, 0, a_.reduced, n);
    });
  }

  // Few long rows: the chunks of all rows are the tasks. The tree is that of statistic_of.
  void in_chunks() const {
    const ChunkPlan plan = plan_chunks<T>(1, a_.reduced);
    Scratch<Statistic> parts(a_.outer * plan.chunks);
    Scratch<Normaliser> normalisers(a_.outer);
    parallel_for(a_.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
      const std::int64_t row = task / plan.chunks;
      const Runs<T> chunk = chunk_of(runs_of(row), plan, task % plan.chunks);
      auto worker = prologue_.worker(row + 1);
      worker.make(row, {chunk.x - runs_of(row).x, chunk.length});
      parts[task] = Statistic::template part<false>(chunk);
    });
    for (std::int64_t row = 0; row < a_.outer; ++row) {
      const Statistic statistic = merge(&parts[row * plan.chunks], plan.chunks);
      normalisers[row] = normaliser_of_row(row, statistic);
      a_.report(row, normalisers[row]);
    }
    parallel_for(a_.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
      const std::int64_t row = task / plan.chunks;
      const Runs<T> chunk = chunk_of(runs_of(row), plan, task % plan.chunks);
      write_run(row, chunk.x - runs_of(row).x, chunk.length, normalisers[row]);
    });
  }

  const AxisForward<T>& a_;
  const Prologue& prologue_;
  RunWeight<T> weight_;
  RunBias<T> bias_;
  Writing how_;
  bool lines_differ_;
};

}  // namespace normdrop::NORMDROP_ISA
