#include "bindings/operations/row_staging.h"

namespace normdrop {
namespace {

char* host_pointer(const void* pointer) { return static_cast<char*>(const_cast<void*>(pointer)); }

StagedRows read_rows(const void* host, std::int64_t row_bytes, std::int64_t stride_bytes) {
  return {host_pointer(host), row_bytes, stride_bytes, false};
}

StagedRows written_rows(void* host, std::int64_t row_bytes, std::int64_t stride_bytes) {
  return {host_pointer(host), row_bytes, stride_bytes, true};
}

double* as_double(char* pointer) { return reinterpret_cast<double*>(pointer); }

// Kernels run without the GIL, in the environment they are written for.
template <class Arguments>
void launch(Execution& execution, void (*OpTable::*operation)(const Arguments&),
            const Arguments& arguments) {
  const cpu::DefaultFloatEnvironment environment;
  (execution.backend().table->*operation)(arguments);
}

}  // namespace

void call_by_rows(Execution& execution, const LayerNormForward& arguments) {
  const std::int64_t item = bytes_of(arguments.dtype);
  const std::int64_t elements = arguments.reduced * arguments.inner;
  const std::int64_t stats_bytes = arguments.inner * static_cast<std::int64_t>(sizeof(double));
  std::vector<StagedRows> arrays{
      read_rows(arguments.x, elements * item, arguments.x_outer_stride * item),
      written_rows(arguments.y, elements * item, arguments.y_outer_stride * item)};
  if (arguments.mean != nullptr) {
    arrays.push_back(written_rows(arguments.mean, stats_bytes, stats_bytes));
    arrays.push_back(written_rows(arguments.inv_std, stats_bytes, stats_bytes));
  }
  execution.ring()->run_rows(
      arguments.outer, arrays,
      [&](std::int64_t, std::int64_t rows, char* const* device, void* stream) {
    LayerNormForward part = arguments;
    part.outer = rows;
    part.x_outer_stride = part.y_outer_stride = elements;
    part.x = device[0];
    part.y = device[1];
    part.mean = arguments.mean != nullptr ? as_double(device[2]) : nullptr;
    part.inv_std = arguments.inv_std != nullptr ? as_double(device[3]) : nullptr;
    part.stream = stream;
    launch(execution, &OpTable::layer_norm_forward, part);
  });
}

void call_by_rows(Execution& execution, const BatchNormInference& arguments) {
  const std::int64_t item = bytes_of(arguments.dtype);
  const std::int64_t elements = arguments.channels * arguments.inner;
  execution.ring()->run_rows(
      arguments.batch,
      {read_rows(arguments.x, elements * item, arguments.x_batch_stride * item),
       written_rows(arguments.y, elements * item, arguments.y_batch_stride * item)},
      [&](std::int64_t, std::int64_t rows, char* const* device, void* stream) {
    BatchNormInference part = arguments;
    part.batch = rows;
    part.x_batch_stride = part.y_batch_stride = elements;
    part.x = device[0];
    part.y = device[1];
    part.stream = stream;
    launch(execution, &OpTable::batch_norm_inference, part);
  });
}

void call_by_rows(Execution& execution, const Dropout& arguments) {
  const std::int64_t item = bytes_of(arguments.dtype);
  execution.ring()->run_rows(
      arguments.count, {read_rows(arguments.x, item, item), written_rows(arguments.y, item, item)},
      [&](std::int64_t first, std::int64_t elements, char* const* device, void* stream) {
    Dropout part = arguments;
    part.count = elements;
    part.draw.first_index += static_cast<std::uint64_t>(first);
    part.x = device[0];
    part.y = device[1];
    part.stream = stream;
    launch(execution, &OpTable::dropout, part);
  });
}

}  // namespace normdrop
