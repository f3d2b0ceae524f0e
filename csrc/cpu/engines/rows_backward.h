// Gradients of normalised rows of neighbouring elements:
//   grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight
//   grad_weight = sum grad_output * x_hat,  grad_bias = sum grad_output
// Rows are summed in slots (slots.h), each with its own partial parameter gradients. Rows too long
// for L2: row sums by chunks, then all rows of a range of columns at a time, which needs no partial
// parameter gradients.
#pragma once

#include "cpu/engines/row_gradients.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

template <class T, bool centred, class Epilogue>
class RowsBackward {
 public:
  RowsBackward(const AxisBackward<T>& arguments, const Epilogue& epilogue)
      : a_(arguments), epilogue_(epilogue) {}

  void run() const {
    constexpr std::int64_t limit = cpu::tuning::long_row_bytes / std::int64_t{sizeof(T)};
    a_.reduced > limit ? by_columns() : by_slots();
  }

 private:
  using Worker = typename Epilogue::Worker;
  using Gradients = RowGradients<T, centred, Worker>;

  bool weight_is_plain() const {
    if constexpr (!suits_single<T>) return true;
    if constexpr (suits_single<T>) {
      return a_.weight == nullptr || are_plain_weights(a_.weight, a_.reduced);
    }
  }

  void by_slots() const {
    const bool parameters = a_.wants_parameters();
    const Slots slots = plan_slots(a_.outer, a_.reduced);
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
      Gradients{a_, worker, row, plain}.template run<rows_together>(grad_weight, grad_bias);
    }
    for (; row < end; ++row) {
      Gradients{a_, worker, row, plain}.template run<1>(grad_weight, grad_bias);
    }
  }

  void by_columns() const {
    const ChunkPlan plan = plan_chunks<T>(1, a_.reduced);
    Scratch<RowSums> sums(a_.outer * plan.chunks);
    parallel_for(a_.outer * plan.chunks, plan.length_per_chunk, [&](std::int64_t task) {
      const std::int64_t begin = task % plan.chunks * plan.length_per_chunk;
      const std::int64_t left = a_.reduced - begin;
      Worker worker = epilogue_.worker(a_.outer);
      sums[task] = Gradients{a_, worker, task / plan.chunks}.sums_in_double(
          {begin, left < plan.length_per_chunk ? left : plan.length_per_chunk});
    });
    for (std::int64_t row = 0; row < a_.outer; ++row) {
      sums[row * plan.chunks] = sum_in_order(&sums[row * plan.chunks], plan.chunks);
    }
    constexpr std::int64_t width = cpu::tuning::long_row_tile;
    parallel_for((a_.reduced + width - 1) / width, a_.outer * width, [&](std::int64_t tile) {
      const std::int64_t begin = tile * width;
      const std::int64_t left = a_.reduced - begin;
      write_tile({begin, left < width ? left : width}, sums.data(), plan.chunks);
    });
  }

  // sums: those of row r at r * step.
  void write_tile(Columns columns, const RowSums* sums, std::int64_t step) const {
    constexpr std::int64_t width = cpu::tuning::long_row_tile;
    double accumulators[4 * width] = {};
    Worker worker = epilogue_.worker(a_.outer);
    for (std::int64_t row = 0; row < a_.outer; ++row) {
      Gradients{a_, worker, row}.template write_in_double<1>(columns, &sums[row * step],
                                                             accumulators, accumulators + width);
    }
    fold_errors<T>(accumulators, 2 * width, 2 * width);
    for (std::int64_t j = 0; j < columns.length; ++j) {
      const std::int64_t column = columns.begin + j;
      if (a_.grad_weight) a_.grad_weight[column] = static_cast<wide<T>>(accumulators[j]);
      if (a_.grad_bias) a_.grad_bias[column] = static_cast<wide<T>>(accumulators[width + j]);
    }
  }

  AxisBackward<T> a_;
  Epilogue epilogue_;
};

}  // namespace normdrop::NORMDROP_ISA
