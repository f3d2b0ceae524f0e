// Gradients of normalised rows of neighbouring elements:
//   grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// Rows are summed in slots (slots.h), each with its own partial parameter gradients. Long rows: row
// sums by chunks, then all rows of a range of columns at a time, which needs no partial gradients.
#pragma once

#include "cpu/engines/row_writer.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

// The plans of all rows, chunks of which are tasks. The tree is that of RowGradients::whole_sums.
template <class T>
NORMDROP_OUT_OF_LINE void plan_long_rows(const RowGradients<T>& rows, RowPlan* plans) {
  const std::int64_t outer = rows.a.outer;
  const std::int64_t length = rows.a.reduced;
  const ChunkPlan cut = plan_chunks<T>(1, length);
  Scratch<RowSums> parts(outer * cut.chunks);
  parallel_for(outer * cut.chunks, cut.length_per_chunk, [&](std::int64_t task) {
    const RowGradients<T> row = rows.at_row(task / cut.chunks);
    const std::int64_t begin = task % cut.chunks * cut.length_per_chunk;
    const std::int64_t left = length - begin;
    const Columns chunk{begin, left < cut.length_per_chunk ? left : cut.length_per_chunk};
    parts[task] = row.sums(chunk, row.stats());
  });
  for (std::int64_t r = 0; r < outer; ++r) {
    const RowSums* of_row = &parts[r * cut.chunks];
    plans[r].sums = cut.chunks == 1 ? *of_row : sum_in_order(of_row, cut.chunks);
    plans[r].stats = rows.at_row(r).stats();
    rows.at_row(r).finish(plans[r]);
  }
}

template <class T, class Epilogue>
class RowsBackward {
 public:
  RowsBackward(const AxisBackward<T>& arguments, const Epilogue& epilogue)
      : a_(arguments), epilogue_(epilogue), weight_(a_.weight, a_.reduced) {}

  void run() const { are_long() ? by_columns() : by_slots(); }

 private:
  using Worker = typename Epilogue::Worker;
  using Writer = RowWriter<T, Worker>;

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
    std::int64_t row = begin;
    for (; row + rows_together <= end; row += rows_together) {
      run<rows_together>(worker, row, plain, grad_weight, grad_bias);
    }
    for (; row < end; ++row) run<1>(worker, row, plain, grad_weight, grad_bias);
  }

  // All passes over K rows.
  template <int K>
  void run(Worker& worker, std::int64_t row, bool plain, double* grad_weight,
           double* grad_bias) const {
    const RowGradients<T> rows = rows_from(row, plain);
    RowPlan plan[K];
    rows.template make_plans<K>(plan);
    Writer{rows, worker}.template write_all<K>(plan, grad_weight, grad_bias);
  }

  RowGradients<T> rows_from(std::int64_t row, bool plain) const {
    return {a_, a_.mean_factors(), row, weight_, plain};
  }

  void by_columns() const {
    const RowGradients<T> rows = rows_from(0, weight_is_plain());
    Scratch<RowPlan> plans(a_.outer);
    plan_long_rows(rows, plans.data());
    constexpr std::int64_t width = cpu::tuning::long_row_tile;
    parallel_for((a_.reduced + width - 1) / width, a_.outer * width, [&](std::int64_t tile) {
      const std::int64_t begin = tile * width;
      const std::int64_t left = a_.reduced - begin;
      write_tile({begin, left < width ? left : width}, rows, plans.data());
    });
  }

  void write_tile(Columns columns, const RowGradients<T>& rows, const RowPlan* plans) const {
    constexpr std::int64_t width = cpu::tuning::long_row_tile + pack_size;  // as in by_slots
    double accumulators[4 * width] = {};
    double* grad_weight = a_.wants_parameters() ? accumulators : nullptr;
    double* grad_bias = a_.wants_parameters() ? accumulators + width : nullptr;
    Worker worker = epilogue_.worker(a_.outer);
    std::int64_t r = 0;
    for (; r + rows_together <= a_.outer; r += rows_together) {
      Writer{rows.at_row(r), worker}.template write<rows_together>(columns, plans + r, grad_weight,
                                                                   grad_bias);
    }
    for (; r < a_.outer; ++r) {
      Writer{rows.at_row(r), worker}.template write<1>(columns, plans + r, grad_weight, grad_bias);
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
  RunWeight<T> weight_;
};

}  // namespace normdrop::NORMDROP_ISA
