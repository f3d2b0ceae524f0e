// The copy, with plain and with streaming stores: every short number of bytes at every offset,
// and around its blocks.
#include "cpu/parallel.h"
#include "cpu/tuning.h"
#include "norm_arrays.h"

namespace normdrop::driver {
namespace {

struct Problem {
  bool streaming;
  std::vector<std::uint8_t> source;
  Expected<std::uint8_t> target;

  Problem(std::int64_t bytes, bool is_streaming)
      : streaming(is_streaming), source(static_cast<std::size_t>(bytes)) {
    for (std::int64_t i = 0; i < bytes; ++i) {
      source[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(100.0 + 90.0 * noise(6, i));
    }
    target.values.assign(source.begin(), source.end());
  }
};

void run(const OpTable& table, Memory& memory, Problem& problem, const Variant& variant) {
  const auto bytes = static_cast<std::int64_t>(problem.source.size());
  Case one("copy of %lld bytes%s; %s", static_cast<long long>(bytes),
           problem.streaming ? " past the caches" : "", variant.text().c_str());
  const Placement placement(memory, variant);
  Array<std::uint8_t> source = placement.run(1, problem.source);
  Array<std::uint8_t> target = placement.run<std::uint8_t>(0, bytes);
  cpu::set_thread_count(variant.threads);
  table.copy({.bytes = bytes,
              .streaming = problem.streaming,
              .source = source.data(),
              .target = target.data()});
  problem.target.check(one, "target", target, 0.0);
  source.check_unchanged(one, "source", problem.source);
}

void run_short(const Context& context) {
  Memory memory;
  Variants variants(1, 0);
  const std::vector<Variant> every = variants.every();
  constexpr std::int64_t four_vectors_and_three_bytes = 4 * 64 + 3;
  for (std::int64_t bytes = 0; bytes <= four_vectors_and_three_bytes; ++bytes) {
    for (const bool streaming : {false, true}) {
      Problem problem(bytes, streaming);
      for (const Variant& v : context.quick ? variants.some(2, 2) : every) {
        run(context.table, memory, problem, v);
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
          run(context.table, memory, problem, v);
        }
      }
    }
  }
}

void run_streamed(const Context& context) {
  Memory memory;
  const Variants variants(1, 0);
  Problem problem(cpu::tuning::streamed_output_bytes + 64, true);
  for (const Variant& v : variants.streamed(0)) run(context.table, memory, problem, v);
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
