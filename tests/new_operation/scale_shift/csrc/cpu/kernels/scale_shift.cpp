// Scale and shift of x (batch, channels, inner):  y = x * weight + bias.
// The elements of one channel of one batch index are a task.
#include "ops/scale_shift.h"

#include "cpu/engines/parameters.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void forward(const ScaleShiftForward& a) {
  parallel_for(a.batch * a.channels, a.inner, [&](std::int64_t task) {
    const std::int64_t batch = task / a.channels;
    const std::int64_t channel = task % a.channels;
    const T* x = static_cast<const T*>(a.x) + batch * a.x_batch_stride + channel * a.inner;
    T* y = static_cast<T*>(a.y) + batch * a.y_batch_stride + channel * a.inner;
    const pack weight = splat(parameter<T>(a.weight, channel, 1.0));
    const pack bias = splat(parameter<T>(a.bias, channel, 0.0));
    const std::int64_t count = a.inner;
    for_each_pack(count, [&](std::int64_t i, auto extent) NORMDROP_LAMBDA_INLINE {
      store(y + i, multiply_add(load(x + i, extent), weight, bias), extent);
    });
  });
}

}  // namespace

void scale_shift(const ScaleShiftForward& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const ScaleShiftForward& a) {
    for_dtype(a.dtype, [&](auto element) { forward<decltype(element)>(a); });
  });
}

}  // namespace normdrop::NORMDROP_ISA
