// Backward of the parametric rectifier, of x (batch, channels, inner):
//   grad_x = grad_output where x > 0, else weight * grad_output
//   grad_weight = sum of grad_output * x where not x > 0
// One pass does both. inner > 1: slots of a channel's lines. inner == 1: slots of rows of channels,
//   narrow ones several at once. Sums in double, merged in order.
#include "cpu/arithmetic/rectify.h"
#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "cpu/engines/narrow_rows.h"
#include "cpu/engines/pieces.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void store_gradient(const PreluBackward& a, std::int64_t channel, double sum) {
  if (a.grad_weight == nullptr) return;
  static_cast<wide<T>*>(a.grad_weight)[channel] = static_cast<wide<T>>(sum);
}

// A channel's lines, in pieces where they are long.
template <class T>
struct Lines {
  const T* grad_output;
  const T* x;
  T* grad_x;
  std::int64_t grad_output_stride;
  std::int64_t x_stride;
  std::int64_t grad_x_stride;
  Pieces pieces;
  wide<T> weight;
  Writing how;

  Lines(const PreluBackward& a, std::int64_t channel)
      : grad_output(static_cast<const T*>(a.grad_output) + channel * a.inner),
        x(static_cast<const T*>(a.x) + channel * a.inner),
        grad_x(static_cast<T*>(a.grad_x) + channel * a.inner),
        grad_output_stride(a.grad_output_batch_stride),
        x_stride(a.x_batch_stride),
        grad_x_stride(a.grad_x_batch_stride),
        pieces(plan_pieces(a.inner)),
        weight(static_cast<const wide<T>*>(a.weight)[channel]),
        how(writing_of_lines(static_cast<T*>(a.grad_x), a.inner, a.grad_x_batch_stride,
                             a.batch * a.channels * a.inner)) {}

  // Writes pieces [begin, end) and gives their sum.
  double run(std::int64_t begin, std::int64_t end) const {
    const Lines lines = *this;
    running_sums<T> sum{};
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t row = k / lines.pieces.count;
      const std::int64_t at = lines.pieces.begin(k % lines.pieces.count);
      const T* grads = lines.grad_output + row * lines.grad_output_stride + at;
      const T* values = lines.x + row * lines.x_stride + at;
      T* out = lines.grad_x + row * lines.grad_x_stride + at;
      const auto weights = splat_wide<T>(lines.weight);
      with_length_of<T>(lines.pieces.size(k % lines.pieces.count),
                        [&](auto length) NORMDROP_LAMBDA_INLINE {
        const Writing here = lines.how.of(length);
        for_each_pack_after(here.head, length,
                            [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
          const auto g = load_wide(grads + i, extent);
          const auto value = load_wide(values + i, extent);
          store(out + i, rectify(value, g, weights), extent, here);
          sum = add(sum, weight_term(as_doubles(value), as_doubles(g)));
        });
      });
    }
    return total_of(sum);
  }
};

template <class T>
void backward_lines(const PreluBackward& a) {
  const Pieces pieces = plan_pieces(a.inner);
  const std::int64_t parts = a.batch * pieces.count;
  const Slots slots = plan_slots(parts, pieces.length);
  Scratch<double> partial(a.channels * slots.count);
  parallel_for(a.channels * slots.count, slots.rows * pieces.length, [&](std::int64_t task) {
    const std::int64_t slot = task % slots.count;
    partial[task] = Lines<T>(a, task / slots.count).run(slots.begin(slot), slots.end(slot, parts));
  });
  for (std::int64_t c = 0; c < a.channels; ++c) {
    store_gradient<T>(a, c, sum_in_order(&partial[c * slots.count], slots.count, 1));
  }
}

// A row and what is added of it to the columns' sums; for float64 their errors are `errors_at` on.
template <class T>
void backward_row(const T* grads, const T* values, T* out, const wide<T>* weight,
                  std::int64_t count, double* sums, std::int64_t errors_at, Writing how) {
  for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    const auto g = load_wide(grads + j, extent);
    const auto value = load_wide(values + j, extent);
    store(out + j, rectify(value, g, load_wide(weight + j, extent)), extent, how);
    add_in_memory<T>(sums, errors_at, j, weight_term(as_doubles(value), as_doubles(g)));
  });
}

template <class T>
void backward_rows(const PreluBackward& a) {
  const NarrowRows rows = plan_summed_rows(a.batch, a.channels);
  const bool narrow = rows.together > 1;
  const auto packed = [&](const void* data, std::int64_t stride) {
    return PackedRows<T>(static_cast<const T*>(data), a.batch, a.channels,
                         narrow ? stride : a.channels);
  };
  const PackedRows<T> grads = packed(a.grad_output, a.grad_output_batch_stride);
  const PackedRows<T> values = packed(a.x, a.x_batch_stride);
  const UnpackedRows<T> out(static_cast<T*>(a.grad_x), a.batch, a.channels,
                            narrow ? a.grad_x_batch_stride : a.channels);
  const std::int64_t grads_stride = narrow ? rows.columns : a.grad_output_batch_stride;
  const std::int64_t values_stride = narrow ? rows.columns : a.x_batch_stride;
  const std::int64_t out_stride = narrow ? rows.columns : a.grad_x_batch_stride;
  const RowsParameter<T> weight(a.weight, a.channels, rows.together);
  const Slots slots = plan_slots(rows.rows, rows.columns);
  const std::int64_t width = padded(rows.columns) + pack_size;  // a last pack may begin anywhere
  Scratch<double> partial(slots.count * 2 * width);
  const Writing how = writing_of<T>(out.data(), rows.columns, out_stride, a.batch * a.channels);
  parallel_for(slots.count, slots.rows * rows.columns, [&](std::int64_t slot) {
    double* sums = &partial[slot * 2 * width];
    fill_zero(sums, 2 * width);
    for (std::int64_t row = slots.begin(slot); row < slots.end(slot, rows.rows); ++row) {
      backward_row(grads.data() + row * grads_stride, values.data() + row * values_stride,
                   out.data() + row * out_stride, weight.data(), rows.columns_of(row), sums, width,
                   how);
    }
    fold_errors<T>(sums, width, width);
  });
  out.deliver();
  Scratch<double> column(width);
  merge_slots<double>(partial.data(), slots.count, 2 * width, rows.columns, column.data());
  for (std::int64_t c = 0; c < a.channels; ++c) {
    store_gradient<T>(a, c, sum_in_order(&column[c], rows.together, a.channels));
  }
}

template <class T>
void backward(const PreluBackward& a) {
  if (a.batch == 0 || a.channels == 0 || a.inner == 0) {
    return fill_zero(static_cast<wide<T>*>(a.grad_weight), a.grad_weight ? a.channels : 0);
  }
  a.inner == 1 ? backward_rows<T>(a) : backward_lines<T>(a);
}

}  // namespace

void prelu_backward(const PreluBackward& arguments) {
  using A = PreluBackward;
  with_wide_gradient<&A::grad_weight>(arguments, arguments.parameter_dtype, arguments.channels,
                                      [](const A& with_gradient) {
    with_wide<&A::weight>(with_gradient, with_gradient.channels, [](const A& a) {
      for_dtype(a.dtype, [&](auto element) { backward<decltype(element)>(a); });
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
