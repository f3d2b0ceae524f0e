// One call of copy and its checks.
#pragma once

#include "norm_arrays.h"

namespace normdrop::driver::copy {

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

inline void run(const Context& context, Memory& memory, Problem& problem, const Variant& variant) {
  const auto bytes = static_cast<std::int64_t>(problem.source.size());
  Case one("copy of %lld bytes%s; %s", static_cast<long long>(bytes),
           problem.streaming ? " past the caches" : "", variant.text().c_str());
  const Placement placement(memory, variant);
  Array<std::uint8_t> source = placement.run(1, problem.source);
  Array<std::uint8_t> target = placement.run<std::uint8_t>(0, bytes);
  Stream stream(context, variant.threads);
  context.table.copy({.bytes = bytes,
                      .streaming = problem.streaming,
                      .source = source.data(),
                      .target = target.data(),
                      .stream = stream.handle()});
  stream.finish();
  problem.target.check(one, "target", target, 0.0);
  source.check_unchanged(one, "source", problem.source);
}

}  // namespace normdrop::driver::copy
