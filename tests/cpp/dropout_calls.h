// One call of dropout or of its mask, and its checks. The results are exact.
#pragma once

#include <cmath>

#include "common/philox.h"
#include "norm_arrays.h"

namespace normdrop::driver::dropout {

inline constexpr std::uint64_t two_32 = std::uint64_t{1} << 32;

inline bool is_kept(const DropoutDraw& draw, std::int64_t i) {
  const std::uint64_t index = draw.first_index + static_cast<std::uint64_t>(i);
  const std::uint64_t block = index / 4;
  const philox::Block words = philox::block(
      {{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
        static_cast<std::uint32_t>(draw.call), static_cast<std::uint32_t>(draw.call >> 32)}},
      static_cast<std::uint32_t>(draw.seed), static_cast<std::uint32_t>(draw.seed >> 32));
  return words.word[index % 4] < draw.threshold;
}

inline std::string text(const DropoutDraw& draw, std::int64_t count) {
  return "of " + std::to_string(count) + " from " + std::to_string(draw.first_index) +
         ", threshold " + std::to_string(draw.threshold);
}

// The draw of a call. On a device, seed and call may lie in its memory; those of the host are then
// others, which must not be used.
struct DrawArrays {
  Array<std::uint64_t> values;
  DropoutDraw host;
  const std::uint64_t* device;

  DrawArrays(const Placement& placement, const DropoutDraw& draw, bool on_device)
      : values(placement.run(2, std::vector<std::uint64_t>{draw.seed, draw.call})),
        host(draw),
        device(on_device ? values.data() : nullptr) {
    if (!on_device) return;
    host.seed = ~draw.seed;
    host.call = ~draw.call;
  }
};

template <class T>
struct Problem {
  DropoutDraw draw;
  bool on_device = false;  // seed and call come from memory
  double scale;
  std::vector<T> x;
  Expected<T> y;

  Problem(std::int64_t count, const DropoutDraw& the_draw)
      : draw(the_draw),
        scale(draw.threshold == 0
                  ? 0.0
                  : static_cast<Arithmetic<T>>(0x1p32 / static_cast<double>(draw.threshold))),
        x(noise_values<T>(5, count)) {
    for (std::int64_t i = 0; i < count; ++i) {
      T& value = x[static_cast<std::size_t>(i)];
      if (i % 13 == 5) value = T(INFINITY);
      const auto product = static_cast<Arithmetic<T>>(static_cast<double>(value)) *
                           static_cast<Arithmetic<T>>(scale);
      y.values.push_back(is_kept(draw, i) ? static_cast<double>(static_cast<T>(product)) : 0.0);
    }
  }
};

template <class T>
void run(const Context& context, Memory& memory, Problem<T>& problem, const Variant& variant) {
  const auto count = static_cast<std::int64_t>(problem.x.size());
  Case one("dropout %s; %s", text(problem.draw, count).c_str(), variant.text().c_str());
  const Placement placement(memory, variant);
  Array<T> x = placement.run(1, problem.x);
  Array<T> apart = placement.run<T>(0, count);
  Array<T>& y = variant.in_place ? x : apart;
  Stream stream(context, variant.threads);
  const DrawArrays draw(placement, problem.draw, problem.on_device);
  context.table.dropout({
      .dtype = dtype_of<T>,
      .count = count,
      .draw = draw.host,
      .scale = problem.scale,
      .x = x.data(),
      .y = y.data(),
      .device_draw = draw.device,
      .stream = stream.handle(),
  });
  stream.finish();
  problem.y.check(one, "y", y, 0.0);
  if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
}

struct KeepProblem {
  DropoutDraw draw;
  bool on_device = false;  // seed and call come from memory
  Expected<std::uint8_t> keep;

  KeepProblem(std::int64_t count, const DropoutDraw& the_draw) : draw(the_draw) {
    for (std::int64_t i = 0; i < count; ++i) keep.values.push_back(is_kept(draw, i) ? 1.0 : 0.0);
  }
};

inline void run(const Context& context, Memory& memory, KeepProblem& problem,
                const Variant& variant) {
  const auto count = static_cast<std::int64_t>(problem.keep.values.size());
  Case one("dropout_keep %s; %s", text(problem.draw, count).c_str(), variant.text().c_str());
  const Placement placement(memory, variant);
  Array<std::uint8_t> keep = placement.run<std::uint8_t>(0, count);
  Stream stream(context, variant.threads);
  const DrawArrays draw(placement, problem.draw, problem.on_device);
  context.table.dropout_keep({
      .count = count,
      .draw = draw.host,
      .keep = keep.data(),
      .device_draw = draw.device,
      .stream = stream.handle(),
  });
  stream.finish();
  problem.keep.check(one, "keep", keep, 0.0);
}

}  // namespace normdrop::driver::dropout
