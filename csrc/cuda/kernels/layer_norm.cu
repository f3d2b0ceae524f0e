// Layer norm (Ba, Kiros, Hinton 2016) over the middle axis of (outer, reduced, inner):
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// Rows (inner == 1) that stay on chip, in the registers or the shared memory of a block or a cluster,
// are read once. Longer ones are cut into chunks over many blocks and read twice, as are columns
// (inner > 1), which need no transpose.
#include "cuda/engines/fill.cuh"
#include "cuda/engines/rows.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/layer_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
void forward(const LayerNormForward& a) {
  const ForwardArrays<T> arrays{static_cast<const T*>(a.x),
                                static_cast<T*>(a.y),
                                parameter_of<T>(a.weight, a.parameter_dtype),
                                parameter_of<T>(a.bias, a.parameter_dtype),
                                a.eps,
                                {a.mean, nullptr, a.inv_std},
                                a.stream};
  if (a.inner > 1) {
    return forward_of_columns<T>(arrays, {a.outer,
                                          a.reduced,
                                          a.inner,
                                          {a.x_outer_stride, a.inner, 1},
                                          {a.y_outer_stride, a.inner, 1},
                                          {0, 1, 0}});
  }
  const ChunkSpread spread = spread_on_chip(chunks_of_row<T>(a.reduced), chunk_bytes<T>);
  if (spread.blocks > 0) {
    return forward_of_rows_on_chip(arrays, a.outer, a.reduced, a.x_outer_stride, a.y_outer_stride,
                                   spread);
  }
  forward_of_runs<T>(arrays, {a.outer,
                              1,
                              a.reduced,
                              {a.x_outer_stride, 0, 1},
                              {a.outer, a.reduced, 1},
                              a.x_outer_stride,
                              a.y_outer_stride,
                              {1, 0, 0},
                              {0, 1, 0}});
}

}  // namespace

void layer_norm_forward(const LayerNormForward& a) {
  if (a.outer * a.inner == 0) return;
  if (a.reduced == 0) {
    const std::int64_t bytes = a.outer * a.inner * static_cast<std::int64_t>(sizeof(double));
    fill_bytes(a.mean, byte_of_nan, bytes, a.stream);
    fill_bytes(a.inv_std, byte_of_nan, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
}

}  // namespace normdrop::NORMDROP_DEVICE
