// What tests and benchmarks measure with: one block of Philox, a plain copy, the size of staged chunks.
#include <array>

#include "bindings/checks/checks.h"
#include "bindings/device/staging.h"
#include "bindings/runtime/runtime.h"
#include "common/philox.h"

#include <pybind11/stl.h>

namespace normdrop {
namespace {

void set_staging_chunk(std::int64_t bytes) {
  if (bytes < 4096) throw py::value_error("set_staging_chunk: bytes must be 4096 or more");
  release_idle_staging();
  StagingRing::set_chunk_bytes(bytes);
}

py::tuple philox4x32(py::handle counter, py::handle key) {
  const auto c = counter.cast<std::array<std::uint32_t, 4>>();
  const auto k = key.cast<std::array<std::uint32_t, 2>>();
  const philox::Block block = philox::block({{c[0], c[1], c[2], c[3]}}, k[0], k[1]);
  return py::make_tuple(block.word[0], block.word[1], block.word[2], block.word[3]);
}

void copy_bandwidth_kernel(py::handle target, py::handle source, bool streaming) {
  const ArrayView from = require_array({"copy_bandwidth_kernel", "source"}, source);
  const ArrayView to = optional_out({"copy_bandwidth_kernel", "target"}, target, from);
  if (!to || !from.c_contiguous() || !to.c_contiguous()) {
    throw py::value_error("copy_bandwidth_kernel: target and source must be C-contiguous");
  }
  const std::int64_t bytes = from.size() * from.item_bytes;
  call_on_host(&OpTable::copy, Copy{bytes, streaming, from.data, to.data, nullptr}, from.size());
}

}  // namespace

void bind_measuring(py::module_& module) {
  module.def("set_staging_chunk", &set_staging_chunk);
  module.def("philox4x32", &philox4x32);
  module.def("copy_bandwidth_kernel", &copy_bandwidth_kernel);
}

}  // namespace normdrop
