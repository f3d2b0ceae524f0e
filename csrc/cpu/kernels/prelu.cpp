// Forward of the parametric rectifier (He, Zhang, Ren, Sun 2015) of x (batch, channels, inner):
//   y = x where x > 0, else weight * x, rounded once (half types: to float32 and then to theirs)
// inner > 1: pieces of lines with one weight. inner == 1: rows of channels, narrow ones several at
//   once. All in parallel.
#include "cpu/arithmetic/rectify.h"
#include "cpu/engines/channels.h"
#include "cpu/engines/columns.h"
#include "cpu/engines/narrow_rows.h"
#include "cpu/engines/pieces.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void forward_lines(const PreluForward& a) {
  const Pieces pieces = plan_pieces(a.inner);
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const wide<T>* weight = static_cast<const wide<T>*>(a.weight);
  const Writing how =
      writing_of_lines(y, a.inner, a.y_batch_stride, a.batch * a.channels * a.inner);
  parallel_for(a.batch * a.channels * pieces.count, pieces.length, [&](std::int64_t task) {
    const std::int64_t line = task / pieces.count;
    const std::int64_t channel = line % a.channels;
    const std::int64_t at = channel * a.inner + pieces.begin(task % pieces.count);
    const T* from = x + line / a.channels * a.x_batch_stride + at;
    T* to = y + line / a.channels * a.y_batch_stride + at;
    const auto weights = splat_wide<T>(weight[channel]);
    with_length_of<T>(pieces.size(task % pieces.count), [&](auto length) NORMDROP_LAMBDA_INLINE {
      const Writing here = how.of(length);
      for_each_pack_after(here.head, length,
                          [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
        const auto value = load_wide(from + i, extent);
        store(to + i, rectify(value, value, weights), extent, here);
      });
    });
  });
}

template <class T>
void forward_row(const T* x, T* y, const wide<T>* weight, std::int64_t count, Writing how) {
  for_each_pack_after(how.head, count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    const auto value = load_wide(x + j, extent);
    store(y + j, rectify(value, value, load_wide(weight + j, extent)), extent, how);
  });
}

template <class T>
void forward_rows(const PreluForward& a) {
  const bool without_gaps = a.x_batch_stride == a.channels && a.y_batch_stride == a.channels;
  const NarrowRows rows = plan_written_rows(a.batch, a.channels, without_gaps);
  const RowsParameter<T> weight(a.weight, a.channels, rows.together);
  const std::int64_t x_stride = without_gaps ? rows.columns : a.x_batch_stride;
  const std::int64_t y_stride = without_gaps ? rows.columns : a.y_batch_stride;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const Writing how = writing_of<T>(y, rows.columns, y_stride, a.batch * a.channels);
  for_each_narrow_tile(rows, [&](std::int64_t row, std::int64_t begin, std::int64_t count) {
    forward_row(x + row * x_stride + begin, y + row * y_stride + begin, weight.data() + begin,
                count, how);
  });
}

}  // namespace

void prelu_forward(const PreluForward& arguments) {
  if (arguments.batch == 0 || arguments.channels == 0 || arguments.inner == 0) return;
  using A = PreluForward;
  with_wide<&A::weight>(arguments, arguments.channels, [](const A& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      a.inner == 1 ? forward_rows<T>(a) : forward_lines<T>(a);
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
