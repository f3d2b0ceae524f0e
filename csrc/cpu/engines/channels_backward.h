// Gradients of sets of runs. A set is made of lines, whose elements have a weight in common (batch
// norm: a channel is one line; group norm: a line for each channel of a group):
//   grad_x = (weight * grad_output - mean_g - x_hat * mean_gx) * factor
// A line's sums of grad_output and grad_output * x_hat are taken first, in slots of its runs; a few
// neighbouring sets are a task, or slots of lines where sets are few.
#pragma once

#include "cpu/engines/channels.h"
#include "cpu/engines/line_gradient.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

// An operation, taken by value, supplies
//   sets, lines_per_set, line(index)     the lines of a set are neighbours,
//   sets_in_row                          and so are so many sets
//   mean_factors, how
//   sums_of_set(set, sums)               of weight * grad_output and weight * grad_output * x_hat,
//                                        from the sums of its lines
//   factors(index)                       LineFactors
//   report(index, sums)                  what is kept of a line's sums
struct LineFactors {
  double weight;
  double factor;
};

template <class T, class Operation>
class ChannelsBackward {
 public:
  explicit ChannelsBackward(const Operation& operation)
      : operation_(operation),
        per_set_(operation.lines_per_set),
        lines_(operation.sets * operation.lines_per_set),
        slots_(plan_slots(operation.line(0).runs, operation.line(0).length)),
        sums_(lines_ * slots_.count) {}

  void run() const { few_sets(operation_.sets) ? run_slots() : run_blocks(); }

  // Only the sums of all lines, each to report().
  void run_sums() const {
    sum_all_slots();
    parallel_for(lines_, slots_.count * cpu::tuning::elements_per_channel, [&](std::int64_t l) {
      RowSums total = total_of_line(l);
      if (!is_finite(total.g) || !is_finite(total.gx)) {
        sum_line(l, FloatStats{});
        total = total_of_line(l);
      }
      operation_.report(l, total);
    });
  }

  // Only the output, where sums_of_set() knows the sums by itself.
  void run_write() const {
    Scratch<LinePlan> plans(lines_);
    for (std::int64_t l = 0; l < lines_; ++l) plans[l].stats = operation_.line(l).float_stats();
    for (std::int64_t set = 0; set < operation_.sets; ++set) {
      const std::int64_t first = set * per_set_;
      if (!plan_lines(first, operation_.sums_of_set(set, nullptr), &plans[first])) {
        leave_single(&plans[first]);
      }
    }
    write_all_slots(plans.data());
  }

 private:
  RowSums* slots_of(std::int64_t line) const { return &sums_[line * slots_.count]; }
  RowSums total_of_line(std::int64_t line) const {
    return sum_in_order(slots_of(line), slots_.count);
  }

  void sum_line(std::int64_t index, const FloatStats& stats) const {
    const Line<T> line = operation_.line(index);
    for (std::int64_t s = 0; s < slots_.count; ++s) {
      slots_of(index)[s] = line.sums_by(stats, slots_.begin(s), slots_.end(s, line.runs));
    }
  }

  // Whether the set's lines may be written in single precision.
  bool plan_lines(std::int64_t first, const RowSums& set_sums, LinePlan* plans) const {
    const MeanFactors means = operation_.mean_factors;
    const RowSums mean{means.mean_g(set_sums.g), means.mean_gx(set_sums.gx)};
    bool usable = true;
    for (std::int64_t k = 0; k < per_set_; ++k) {
      const LineFactors of_line = operation_.factors(first + k);
      LinePlan& plan = plans[k];
      plan.weight = of_line.weight;
      plan.factor = of_line.factor;
      plan.mean_g = mean.g;
      plan.mean_gx = mean.gx;
      plan.has_means = !means.are_zero();
      plan.slopes = float_slopes(plan.stats, operation_.line(first + k).inv_std, of_line.factor,
                                 mean.g, mean.gx, of_line.weight);
      usable = usable && plan.slopes.usable;
    }
    return usable;
  }

  void leave_single(LinePlan* plans) const {
    for (std::int64_t k = 0; k < per_set_; ++k) plans[k].slopes.usable = false;
  }

  // The plans of a set's lines from their sums; in double where float sums do not do.
  bool plan_set(std::int64_t set, LinePlan* plans) const {
    const std::int64_t first = set * per_set_;
    RowSums one;  // most sets have one line, and memory for it takes as long as its sums
    const Scratch<RowSums> several(per_set_ > 1 ? per_set_ : 0);
    RowSums* totals = per_set_ > 1 ? several.data() : &one;
    const auto sums_of_set = [&] {
      for (std::int64_t k = 0; k < per_set_; ++k) totals[k] = total_of_line(first + k);
      return operation_.sums_of_set(set, totals);
    };
    const bool usable = plan_lines(first, sums_of_set(), plans);
    if (!usable) {
      bool summed_again = false;
      for (std::int64_t k = 0; k < per_set_; ++k) {
        if (plans[k].stats.usable) sum_line(first + k, FloatStats{});
        summed_again = summed_again || plans[k].stats.usable;
      }
      if (summed_again) plan_lines(first, sums_of_set(), plans);
      leave_single(plans);
    }
    for (std::int64_t k = 0; k < per_set_; ++k) operation_.report(first + k, totals[k]);
    return usable;
  }

  void write_line(std::int64_t index, std::int64_t begin, std::int64_t end,
                  const LinePlan& plan) const {
    const Line<T> line = operation_.line(index);
    if constexpr (suits_single<T>) {
      if (plan.slopes.usable) {
        return write_float_lines(line, 1, begin, end, &plan, operation_.how);
      }
    }
    line.write(begin, end, plan);
  }

  void run_blocks() const {
    const Line<T> any = operation_.line(0);
    const std::int64_t together = per_set_ == 1 ? sets_together(any.runs, any.length) : 1;
    const std::int64_t in_row = operation_.sets_in_row;
    const std::int64_t blocks = (in_row + together - 1) / together;
    parallel_for(operation_.sets / in_row * blocks, any.runs * any.length * per_set_ * together,
                 [&](std::int64_t block) {
      const std::int64_t row = block / blocks * in_row;
      const std::int64_t first = block % blocks * together;
      const std::int64_t end = in_row - first < together ? in_row : first + together;
      run_block(row + first, row + end);
    });
  }

  void run_block(std::int64_t first_set, std::int64_t end_set) const {
    const std::int64_t first = first_set * per_set_;
    const std::int64_t count = (end_set - first_set) * per_set_;
    const std::int64_t runs = operation_.line(0).runs;
    Scratch<LinePlan> plans(count);
    bool all_float = suits_single<T>;
    for (std::int64_t set = first_set; set < end_set; ++set) {
      LinePlan* of_set = &plans[(set - first_set) * per_set_];
      for (std::int64_t k = 0; k < per_set_; ++k) {
        of_set[k].stats = operation_.line(set * per_set_ + k).float_stats();
        sum_line(set * per_set_ + k, of_set[k].stats);
      }
      all_float = plan_set(set, of_set) && all_float;
    }
    if constexpr (suits_single<T>) {
      if (all_float) {
        return write_float_lines(operation_.line(first), count, 0, runs, plans.data(),
                                 operation_.how);
      }
    }
    for (std::int64_t k = 0; k < count; ++k) write_line(first + k, 0, runs, plans[k]);
  }

  // Calls body(line, slot) for every slot of every line.
  template <class Body>
  void for_each_slot(Body&& body) const {
    parallel_for(lines_ * slots_.count, slots_.rows * operation_.line(0).length,
                 [&](std::int64_t task) { body(task / slots_.count, task % slots_.count); });
  }

  void sum_all_slots() const {
    for_each_slot([&](std::int64_t index, std::int64_t slot) {
      const Line<T> line = operation_.line(index);
      slots_of(index)[slot] =
          line.sums_by(line.float_stats(), slots_.begin(slot), slots_.end(slot, line.runs));
    });
  }

  void write_all_slots(const LinePlan* plans) const {
    const std::int64_t runs = operation_.line(0).runs;
    for_each_slot([&](std::int64_t index, std::int64_t slot) {
      write_line(index, slots_.begin(slot), slots_.end(slot, runs), plans[index]);
    });
  }

  void run_slots() const {
    sum_all_slots();
    Scratch<LinePlan> plans(lines_);
    for (std::int64_t l = 0; l < lines_; ++l) plans[l].stats = operation_.line(l).float_stats();
    for (std::int64_t set = 0; set < operation_.sets; ++set) {
      plan_set(set, &plans[set * per_set_]);
    }
    write_all_slots(plans.data());
  }

  const Operation operation_;
  std::int64_t per_set_;
  std::int64_t lines_;
  Slots slots_;
  Scratch<RowSums> sums_;
};

}  // namespace normdrop::NORMDROP_ISA
