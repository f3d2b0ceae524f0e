// The copy, with plain and with streaming stores: every short number of bytes at every offset,
// and around its blocks.
#include "copy_calls.h"
#include "cpu/tuning.h"

namespace normdrop::driver {
namespace {

using namespace copy;

void run_short(const Context& context) {
  Memory memory;
  Variants variants(1, 0);
  const std::vector<Variant> every = variants.every();
  constexpr std::int64_t four_vectors_and_three_bytes = 4 * 64 + 3;
  for (std::int64_t bytes = 0; bytes <= four_vectors_and_three_bytes; ++bytes) {
    for (const bool streaming : {false, true}) {
      Problem problem(bytes, streaming);
      for (const Variant& v : context.quick ? variants.some(2, 2) : every) {
        run(context, memory, problem, v);
      }
    }
  }
}

void run_limits(const Context& context) {
  Memory memory;
  Variants variants(1, 0);
  for (const std::int64_t limit : {4096L, 65536L, 2 * 65536L, 7 * 65536L}) {
    for (const std::int64_t bytes :
         {limit - 64, limit - 1, limit, limit + 1, limit + 63, limit + 64}) {
      for (const bool streaming : {false, true}) {
        Problem problem(bytes, streaming);
        for (const Variant& v : variants.some(1, context.quick ? 1 : 4)) {
          run(context, memory, problem, v);
        }
      }
    }
  }
}

void run_streamed(const Context& context) {
  Memory memory;
  const Variants variants(1, 0);
  Problem problem(cpu::tuning::streamed_output_bytes + 64, true);
  for (const Variant& v : variants.streamed(0)) run(context, memory, problem, v);
}

}  // namespace

std::vector<Group> copy_groups() {
  return {
      {"copy/short/bytes", run_short},
      {"copy/limits/bytes", run_limits},
      {"copy/streamed/bytes", run_streamed},
  };
}

}  // namespace normdrop::driver
