#include <cmath>
#include <cstring>

#include "bindings/layout.h"
#include "bindings/operations.h"
#include "bindings/runtime.h"

namespace normdrop {
namespace {

// The word of an element follows its C-order index, so kernels work on C order: an array of any
// other layout is packed on the way in and copied out on the way back.
Split flat(const ArrayView& x) {
  Split result;
  AxisSet all;
  for (int d = 0; d < x.rank; ++d) all.has[d] = true;
  split(x, all, c_order(x.rank), &result);
  return result;
}

// The two scales of a threshold: 2^32 / threshold rounded once to float32 and to float64.
struct Scales {
  double narrow;
  double wide;
};

Scales scales_of(std::uint64_t threshold) {
  if (threshold == 0) return {0.0, 0.0};
  const cpu::DefaultFloatEnvironment environment;
  const double divisor = static_cast<double>(threshold);
  const double wide = 0x1p32 / divisor;
  const double remainder = std::fma(-wide, divisor, 0x1p32);
  // Rounding to odd first makes the second rounding, to float32, that of the exact quotient.
  double odd = wide;
  if (remainder != 0.0) {
    if (remainder < 0.0) odd = std::nextafter(odd, 0.0);
    std::uint64_t bits;
    std::memcpy(&bits, &odd, sizeof bits);
    bits |= 1;
    std::memcpy(&odd, &bits, sizeof bits);
  }
  return {static_cast<double>(static_cast<float>(odd)), wide};
}

py::object dropout(const char* function, const char* argument, py::handle x_object,
                   const DropoutDraw& draw, py::handle out_object) {
  const ArrayView x = require_array({function, argument}, x_object);
  const Name out_name{function, "out"};
  ArrayView y = optional_out(out_name, out_object, x);
  require_no_overlap(out_name, y, argument, x, true);
  py::object result = py::reinterpret_borrow<py::object>(out_object);
  if (!y) {
    result = new_array(x.dtype, x.shape, memory_order(x));
    y = view_of_new(result, x.dtype);
  }
  const Split s = flat(x);
  const Operand x_operand = readable(x, s);
  const Operand y_operand = writable(y, s);
  Dropout arguments{};
  arguments.dtype = x.dtype;
  arguments.count = x.size();
  arguments.draw = draw;
  const Scales scales = scales_of(draw.threshold);
  arguments.scale = x.dtype == DType::float64 ? scales.wide : scales.narrow;
  arguments.x = x_operand.data;
  arguments.y = y_operand.data;
  call(&OpTable::dropout, arguments, x.size());
  deliver(y_operand, y);
  return result;
}

py::array_t<std::uint8_t> keep(const DropoutDraw& draw, std::int64_t count) {
  py::array_t<std::uint8_t> result(count);
  DropoutKeep arguments{};
  arguments.count = count;
  arguments.draw = draw;
  arguments.keep = result.mutable_data();
  call(&OpTable::dropout_keep, arguments, count);
  return result;
}

}  // namespace

void bind_dropout(py::module_& module) {
  module.def("dropout",
             [](const char* function, const char* argument, py::handle x, std::uint64_t seed,
                std::uint64_t call, std::uint64_t threshold, py::handle out) {
    return dropout(function, argument, x, {seed, call, threshold, 0}, out);
  });
  module.def("dropout_keep", [](std::uint64_t seed, std::uint64_t call, std::uint64_t threshold,
                                std::uint64_t first_index, std::int64_t count) {
    return keep({seed, call, threshold, first_index}, count);
  });
  module.def("dropout_scales", [](std::uint64_t threshold) {
    const Scales scales = scales_of(threshold);
    return py::make_tuple(scales.narrow, scales.wide);
  });
}

}  // namespace normdrop
