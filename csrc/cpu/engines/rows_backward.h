// Gradients of normalised rows of neighbouring elements:
//   grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// Rows are summed in slots (slots.h), each with its own partial parameter gradients. Long rows: row
// sums by chunks, then all rows of a range of columns at a time, which needs no partial gradients.
#pragma once

#include "cpu/arithmetic/run_parameter.h"
#include "cpu/engines/row_gradients.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

template <class T, class Epilogue>
class RowsBackward {
 public:
  RowsBackward(const AxisBackward<T>& arguments, const Epilogue& epilogue)
      : a_(arguments), epilogue_(epilogue), weight_(a_.weight, a_.reduced) {}

  void run() const { are_long() ? by_columns() : by_slots(); }

 private:
  using Worker = typename Epilogue::Worker;
  using Gradients = RowGradients<T, Worker>;

  // Whether rows would leave L2 between their two passes, or slots have so few of them that partial
  // gradients of the parameters would be a good part of what goes through memory.
  bool are_long() const {
    using namespace cpu::tuning;
    constexpr std::int64_t element = sizeof(T);
    if (a_.reduced > long_row_bytes / element) return true;
    return a_.wants_parameters() && a_.reduced > chunk_elements<T> &&
           plan_slots(a_.outer, a_.reduced).rows < fewest_rows_of_slot;
  }

  // Of rows longer than a chunk a slot gets more where that leaves slots enough.
  Slots plan_row_slots() const {
    using namespace cpu::tuning;
    const Slots slots = plan_slots(a_.outer, a_.reduced);
    const std::int64_t enough = a_.outer / slots_of_long_rows;
    const std::int64_t rows = enough < rows_of_long_slot ? enough : rows_of_long_slot;
    if (a_.reduced <= chunk_elements<T> || slots.rows >= rows) return slots;
    return {(a_.outer + rows - 1) / rows, rows};
  }

  bool weight_is_plain() const {
    if constexpr (!suits_single<T>) return true;
    if constexpr (suits_single<T>) {
      return a_.weight == nullptr || are_plain_weights(a_.weight, a_.reduced);
    }
  }

  void by_slots() const {
    const bool parameters = a_.wants_parameters();
    const Slots slots = plan_row_slots();
    const std::int64_t width = padded(a_.reduced) + pack_size;       // a last pack begins anywhere
    const std::int64_t per_slot = (sizeof(T) == 8 ? 4 : 2) * width;  // float64: and their errors
    Scratch<double> partial(parameters ? slots.count * per_slot : 0);
    const bool plain = weight_is_plain();
    parallel_for(slots.count, slots.rows * a_.reduced, [&](std::int64_t slot) {
      double* grad_weight = parameters ? &partial[slot * per_slot] : nullptr;
      double* grad_bias = parameters ? grad_weight + width : nullptr;
      if (parameters) fill_zero(grad_weight, per_slot);
      sum_rows(slots.begin(slot), slots.end(slot, a_.outer), plain, grad_weight, grad_bias);
      if (parameters) fold_errors<T>(grad_weight, 2 * width, 2 * width);
    });
    if (!parameters) return;
    merge_slots<T>(partial.data(), slots.count, per_slot, a_.reduced, a_.grad_weight);
    merge_slots<T>(partial.data() + width, slots.count, per_slot, a_.reduced, a_.grad_bias);
  }

  void sum_rows(std::int64_t begin, std::int64_t end, bool plain, double* grad_weight,
                double* grad_bias) const {
    Worker worker = epilogue_.worker(end);
    const MeanFactors factors = a_.mean_factors();
    std::int64_t row = begin;
    for (; row + rows_together <= end; row += rows_together) {
      Gradients{a_, worker, factors, row, weight_.data(), plain}.template run<rows_together>(
          grad_weight, grad_bias);
    }
    for (; row < end; ++row) {
      Gradients{a_, worker, factors, row, weight_.data(), plain}.template run<1>(grad_weight,
                                                                                 grad_bias);
    }
  }

  Gradients row_of(Worker& worker, std::int64_t row, bool plain) const {
    return {a_, worker, a_.mean_factors(), row, weight_.data(), plain};
  }

  void by_columns() const {
    const bool plain = weight_is_plain();
    Scratch<RowSums> sums(a_.outer);
    Scratch<FloatStats> stats(a_.outer);
    Scratch<FloatSlopes> slopes(a_.outer);
    plan_rows(plain, sums.data(), stats.data(), slopes.data());
    constexpr std::int64_t width = cpu::tuning::long_row_tile;
    parallel_for((a_.reduced + width - 1) / width, a_.outer * width, [&](std::int64_t tile) {
      const std::int64_t begin = tile * width;
      const std::int64_t left = a_.reduced - begin;
      write_tile({begin, left < width ? left : width}, plain, sums.data(), stats.data(),
                 slopes.data());
    });
  }

  // The tree is that of RowGradients::whole_sums.
  void plan_rows(bool plain, RowSums* sums, FloatStats* stats, FloatSlopes* slopes) const {
    const ChunkPlan plan = plan_chunks<T>(1, a_.reduced);
    Scratch<RowSums> parts(a_.outer * plan.chunks);
    parallel_for(a_.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
      Worker worker = epilogue_.worker(a_.outer);
      const Gradients row = row_of(worker, task / plan.chunks, plain);
      const std::int64_t begin = task % plan.chunks * plan.length_per_chunk;
      const std::int64_t left = a_.reduced - begin;
      const Columns chunk{begin, left < plan.length_per_chunk ? left : plan.length_per_chunk};
      parts[task] = row.sums(chunk, row.stats());
    });
    Worker worker = epilogue_.worker(a_.outer);
    for (std::int64_t r = 0; r < a_.outer; ++r) {
      const Gradients row = row_of(worker, r, plain);
      sums[r] = plan.chunks == 1 ? parts[r] : sum_in_order(&parts[r * plan.chunks], plan.chunks);
      stats[r] = row.stats();
      slopes[r] = row.slopes(sums[r], stats[r]);
      if (stats[r].usable && !slopes[r].usable) sums[r] = row.whole_sums(FloatStats{});
    }
  }

  void write_tile(Columns columns, bool plain, const RowSums* sums, const FloatStats* stats,
                  const FloatSlopes* slopes) const {
    constexpr std::int64_t width = cpu::tuning::long_row_tile + pack_size;  // as in by_slots
    double accumulators[4 * width] = {};
    double* grad_weight = a_.wants_parameters() ? accumulators : nullptr;
    double* grad_bias = a_.wants_parameters() ? accumulators + width : nullptr;
    Worker worker = epilogue_.worker(a_.outer);
    std::int64_t r = 0;
    for (; r + rows_together <= a_.outer; r += rows_together) {
      row_of(worker, r, plain)
          .template write<rows_together>(columns, sums + r, stats + r, slopes + r, grad_weight,
                                         grad_bias);
    }
    for (; r < a_.outer; ++r) {
      row_of(worker, r, plain)
          .template write<1>(columns, sums + r, stats + r, slopes + r, grad_weight, grad_bias);
    }
    fold_errors<T>(accumulators, 2 * width, 2 * width);
    for (std::int64_t j = 0; j < columns.length; ++j) {
      const std::int64_t column = columns.begin + j;
      if (a_.grad_weight) a_.grad_weight[column] = static_cast<wide<T>>(accumulators[j]);
      if (a_.grad_bias) a_.grad_bias[column] = static_cast<wide<T>>(accumulators[width + j]);
    }
  }

  const AxisBackward<T>& a_;
  const Epilogue& epilogue_;
  RunWeight<wide<T>> weight_;
};

}  // namespace normdrop::NORMDROP_ISA
