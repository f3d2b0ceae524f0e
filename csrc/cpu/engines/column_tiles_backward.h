// Gradients of sets whose elements are `inner` apart: tiles of columns, summed in slots (slots.h).
// The formula is that of rows_backward.h, in double.
#pragma once

#include "cpu/engines/column_tiles.h"
#include "cpu/engines/slots.h"

namespace normdrop::NORMDROP_ISA {

template <class T, bool centred, class Epilogue>
class ColumnTilesBackward {
 public:
  ColumnTilesBackward(const AxisBackward<T>& arguments, const Epilogue& epilogue)
      : a_(arguments), epilogue_(epilogue) {}

  void run() const {
    const Tiles tiles = plan_tiles(a_.outer, a_.inner);
    const Slots slots = plan_slots(tiles.count, a_.reduced * tiles.width);
    const bool wanted = a_.wants_parameters();
    const std::int64_t per_slot = (sizeof(T) == 8 ? 4 : 2) * a_.reduced;  // and float64's errors
    Scratch<double> partial(wanted ? slots.count * per_slot : 0);
    parallel_for(slots.count, slots.rows * a_.reduced * tiles.width, [&](std::int64_t slot) {
      double* parameters = wanted ? &partial[slot * per_slot] : nullptr;
      if (wanted) fill_zero(parameters, per_slot);
      const std::int64_t end = slots.end(slot, tiles.count);
      for (std::int64_t tile = slots.begin(slot); tile < end; ++tile) {
        with_tile(tiles, tile, a_.inner,
                  [&](std::int64_t outer, std::int64_t begin, std::int64_t columns) {
          Tile(*this, outer, begin, columns).run(parameters);
        });
      }
      if (wanted) fold_errors<T>(parameters, 2 * a_.reduced, 2 * a_.reduced);
    });
    if (!wanted) return;
    merge_slots<T>(partial.data(), slots.count, per_slot, a_.reduced, a_.grad_weight);
    merge_slots<T>(partial.data() + a_.reduced, slots.count, per_slot, a_.reduced, a_.grad_bias);
  }

 private:
  // Neighbouring columns of one outer index.
  class Tile {
   public:
    Tile(const ColumnTilesBackward& engine, std::int64_t outer, std::int64_t begin,
         std::int64_t columns)
        : engine_(engine),
          a_(engine.a_),
          outer_(outer),
          begin_(begin),
          columns_(columns),
          width_(padded(columns)),
          scratch_(6 * width_) {
      fill_zero(scratch_.data(), 6 * width_);
    }

    // `parameters` (null: not wanted) holds the sums for grad_weight and grad_bias, one behind the
    // other, and for float64 their rounding errors.
    void run(double* parameters) const {
      const std::int64_t set = outer_ * a_.inner + begin_;
      for (std::int64_t j = 0; j < columns_; ++j) {
        if constexpr (centred) row(mean)[j] = a_.mean[set + j];
        row(inv_std)[j] = a_.inv_std[set + j];
      }
      add_up(parameters);
      fold_errors<T>(row(mean_g), 2 * width_, 2 * width_);
      const double reciprocal = 1.0 / static_cast<double>(a_.reduced);
      for (std::int64_t j = 0; j < columns_; ++j) {
        row(mean_g)[j] *= centred ? reciprocal : 0.0;
        row(mean_gx)[j] *= reciprocal;
      }
      write();
    }

   private:
    enum Values { mean, inv_std, mean_g, mean_gx };  // behind the last two their rounding errors
    double* row(Values which) const { return scratch_.data() + which * width_; }
    const T* x() const { return a_.x + outer_ * a_.x_outer_stride + begin_; }
    const T* grad_output() const {
      return a_.grad_output + outer_ * a_.grad_output_outer_stride + begin_;
    }
    pack weight_of(std::int64_t r) const {
      return splat(a_.weight ? static_cast<double>(a_.weight[r]) : 1.0);
    }

    void add_up(double* parameters) const {
      const T* values = x();
      const T* grads = grad_output();
      const std::int64_t width = width_;
      const double* means = row(mean);
      const double* inv_stds = row(inv_std);
      double* sums_g = row(mean_g);
      double* sums_gx = row(mean_gx);
      for (std::int64_t r = 0; r < a_.reduced; ++r, values += a_.inner, grads += a_.inner) {
        const pack w = weight_of(r);
        running_sums<T> sum_weight{};
        running_sums<T> sum_bias{};
        for_each_pack(columns_, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
          const pack grad = load(grads + j, extent);
          const pack near = load(values + j, extent) - load(means + j);
          const pack x_hat = keep(near * load(inv_stds + j), extent);
          const pack g = grad * w;
          if constexpr (centred) add_in_memory<T>(sums_g, 2 * width, j, g);
          add_in_memory<T>(sums_gx, 2 * width, j, g * x_hat);
          sum_weight = add_product(sum_weight, grad, x_hat);
          sum_bias = add(sum_bias, grad);
        });
        if (parameters == nullptr) continue;
        add_in_memory<T>(parameters, 2 * a_.reduced, r, total_of(sum_weight));
        add_in_memory<T>(parameters, 2 * a_.reduced, a_.reduced + r, total_of(sum_bias));
      }
    }

    void write() const {
      const T* values = x();
      const T* grads = grad_output();
      T* grad_x = a_.grad_x + outer_ * a_.grad_x_outer_stride + begin_;
      const double* means = row(mean);
      const double* inv_stds = row(inv_std);
      const double* means_g = row(mean_g);
      const double* means_gx = row(mean_gx);
      auto worker = engine_.epilogue_.worker(outer_ + 1);
      for (std::int64_t r = 0; r < a_.reduced; ++r) {
        const pack w = weight_of(r);
        auto ending = worker.template columns<1>(outer_, {r * a_.inner + begin_, columns_});
        for_each_pack(columns_, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
          const pack g = load(grads + j, extent) * w;
          const pack x_hat = (load(values + j, extent) - load(means + j)) * load(inv_stds + j);
          const pack centred_g = (g - load(means_g + j)) - x_hat * load(means_gx + j);
          const pack gradient = ending.total(0, j, centred_g * load(inv_stds + j), extent);
          store(grad_x + j, gradient, extent);
          ending.deliver(0, j, gradient, extent);
        });
        values += a_.inner;
        grads += a_.inner;
        grad_x += a_.inner;
      }
    }

    const ColumnTilesBackward& engine_;
    const AxisBackward<T> a_;
    std::int64_t outer_;
    std::int64_t begin_;
    std::int64_t columns_;
    std::int64_t width_;
    Scratch<double> scratch_;
  };

  AxisBackward<T> a_;
  Epilogue epilogue_;
};

}  // namespace normdrop::NORMDROP_ISA
