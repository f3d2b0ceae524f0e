// One call of dropout's family or of its mask, and its checks. All results but those of Gaussian
// dropout are exact.
#pragma once

#include <cmath>

#include "common/philox.h"
#include "norm_arrays.h"

namespace normdrop::driver::dropout {

inline constexpr std::uint64_t two_32 = std::uint64_t{1} << 32;

inline std::uint32_t word_of(const DropoutDraw& draw, std::uint64_t index) {
  const std::uint64_t block = index / 4;
  const philox::Block words = philox::block(
      {{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
        static_cast<std::uint32_t>(draw.call), static_cast<std::uint32_t>(draw.call >> 32)}},
      static_cast<std::uint32_t>(draw.seed), static_cast<std::uint32_t>(draw.seed >> 32));
  return words.word[index % 4];
}

// Which elements share words: sizes from the outermost axis on, and whether each is shared.
struct Axes {
  std::vector<std::int64_t> sizes;
  std::vector<bool> shared;
  std::vector<DrawnAxis> outer = {};

  // The last axes as a DrawnShape has them, of sizes above 1 that are drawn and shared in turns.
  DrawnShape shape() {
    DrawnShape result;
    std::size_t left = sizes.size();
    const auto take = [&](bool is_shared, std::int64_t* size) {
      if (left > 0 && shared[left - 1] == is_shared) *size = sizes[--left];
    };
    take(true, &result.inner);
    take(false, &result.drawn);
    take(true, &result.rows);
    std::int64_t step = result.drawn;
    outer.assign(left, {});
    for (std::size_t i = left; i-- > 0;) {
      outer[i] = {sizes[i], shared[i] ? 0 : step};
      if (!shared[i]) step *= sizes[i];
    }
    result.outer_axes = static_cast<int>(left);
    result.outer = outer.data();
    return result;
  }
  // The index of an element's word, axis by axis.
  std::uint64_t word_index(std::uint64_t element) const {
    if (sizes.empty()) return element;
    std::uint64_t index = 0;
    std::uint64_t step = 1;
    for (std::size_t i = sizes.size(); i-- > 0;) {
      const auto size = static_cast<std::uint64_t>(sizes[i]);
      if (!shared[i]) {
        index += element % size * step;
        step *= size;
      }
      element /= size;
    }
    return index;
  }
  std::int64_t count() const {
    std::int64_t product = 1;
    for (const std::int64_t size : sizes) product *= size;
    return product;
  }
};

inline bool is_kept(const DropoutDraw& draw, const Axes& axes, std::int64_t i) {
  const std::uint64_t element = draw.first_index + static_cast<std::uint64_t>(i);
  return word_of(draw, axes.word_index(element)) < draw.threshold;
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

// Rounded here and now, whatever the compiler would rather fuse.
template <class Real>
Real rounded_now(Real value) {
  volatile Real stored = value;
  return stored;
}

// The normal number of a word, by the library's functions.
inline double normal_of(const DropoutDraw& draw, std::uint64_t index) {
  const auto place = [&](std::uint64_t i) {
    return (static_cast<double>(word_of(draw, i)) + 0.5) * 0x1p-32;
  };
  const double radius = std::sqrt(-2.0 * std::log(place(index / 2 * 2)));
  const double angle = 2.0 * 3.14159265358979323846 * place(index / 2 * 2 + 1);
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

template <class T>
struct Problem {
  DropoutDraw draw;
  DropoutKind kind = DropoutKind::dropout;
  Axes axes = {};
  bool on_device = false;  // seed and call come from memory
  double scale;
  double shift = 0;
  double dropped = 0;
  std::vector<T> x;
  Expected<T> y;

  using Real = Arithmetic<T>;

  Problem(std::int64_t count, const DropoutDraw& the_draw)
      : draw(the_draw),
        scale(draw.threshold == 0
                  ? 0.0
                  : static_cast<Real>(0x1p32 / static_cast<double>(draw.threshold))) {
    expect(count);
  }
  Problem(const Axes& the_axes, const DropoutDraw& the_draw, DropoutKind the_kind)
      : Problem(the_axes.count(), the_draw, the_kind, the_axes) {}
  Problem(std::int64_t count, const DropoutDraw& the_draw, DropoutKind the_kind,
          const Axes& the_axes = {})
      : draw(the_draw), kind(the_kind), axes(the_axes) {
    scale = kind == DropoutKind::uniform    ? static_cast<Real>(0.3 * 0x1p-31)
            : kind == DropoutKind::gaussian ? 0.25
                                            : static_cast<Real>(1.7);
    shift = kind == DropoutKind::alpha ? static_cast<Real>(0.3) : 0.0;
    dropped = kind == DropoutKind::alpha ? static_cast<Real>(-0.7) : 0.0;
    expect(count);
  }

  double relative_error() const { return kind == DropoutKind::gaussian ? tolerance<T> : 0.0; }

 private:
  void expect(std::int64_t count) {
    x = noise_values<T>(5, count);
    for (std::int64_t i = 0; i < count; ++i) {
      T& value = x[static_cast<std::size_t>(i)];
      if (i % 13 == 5) value = T(INFINITY);
      const std::uint64_t element = draw.first_index + static_cast<std::uint64_t>(i);
      const Real result =
          value_of(static_cast<Real>(static_cast<double>(value)), axes.word_index(element));
      y.values.push_back(static_cast<double>(static_cast<T>(result)));
    }
  }

  Real value_of(Real value, std::uint64_t index) const {
    if (draw.threshold == 0) return 0;
    const std::uint32_t word = word_of(draw, index);
    const bool kept = word < draw.threshold;
    const auto factor = static_cast<Real>(scale);
    switch (kind) {
      case DropoutKind::dropout:
        return kept ? value * factor : Real(0);
      case DropoutKind::alpha:
        return kept ? rounded_now(value * factor) + static_cast<Real>(shift)
                    : static_cast<Real>(dropped);
      case DropoutKind::uniform: {
        const auto whole = static_cast<Real>(static_cast<double>(word) - 0x1p31);
        const Real place = rounded_now(rounded_now(whole) + Real(0.5));
        return value * rounded_now(Real(1) + rounded_now(factor * place));
      }
      case DropoutKind::gaussian:
        break;
    }
    return value * static_cast<Real>(1.0 + std::sqrt(scale) * normal_of(draw, index));
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
      .kind = problem.kind,
      .count = count,
      .draw = draw.host,
      .shape = problem.axes.shape(),
      .scale = problem.scale,
      .shift = problem.shift,
      .dropped = problem.dropped,
      .x = x.data(),
      .y = y.data(),
      .device_draw = draw.device,
      .stream = stream.handle(),
  });
  stream.finish();
  problem.y.check(one, "y", y, problem.relative_error());
  if (!variant.in_place) x.check_unchanged(one, "x", problem.x);
}

struct KeepProblem {
  DropoutDraw draw;
  Axes axes = {};
  bool on_device = false;  // seed and call come from memory
  Expected<std::uint8_t> keep;

  KeepProblem(std::int64_t count, const DropoutDraw& the_draw, const Axes& the_axes = {})
      : draw(the_draw), axes(the_axes) {
    for (std::int64_t i = 0; i < count; ++i) {
      keep.values.push_back(is_kept(draw, axes, i) ? 1.0 : 0.0);
    }
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
      .shape = problem.axes.shape(),
      .keep = keep.data(),
      .device_draw = draw.device,
      .stream = stream.handle(),
  });
  stream.finish();
  problem.keep.check(one, "keep", keep, 0.0);
}

// Runs of one word around a vector's length and whole ones, rows that share their words, axes in
// turns, words that follow each other across lines.
inline std::vector<Axes> shared_axes() {
  return {
      {{7, 3}, {false, true}},
      {{5, 16}, {false, true}},
      {{3, 37}, {false, true}},
      {{5, 300}, {false, true}},
      {{133}, {true}},
      {{4, 9}, {true, false}},
      {{3, 1029}, {true, false}},
      {{5, 3, 7}, {false, true, false}},
      {{3, 5, 4}, {true, false, true}},
      {{2, 3, 2, 5, 3}, {false, true, false, true, false}},
      {{2, 3, 2, 3, 33}, {true, false, true, false, true}},
  };
}

inline constexpr DropoutKind kinds[] = {DropoutKind::dropout, DropoutKind::alpha,
                                        DropoutKind::uniform, DropoutKind::gaussian};

// Calls body(problem) for every kind and shape, with draws from the host and from memory in turns.
template <class T, class Body>
void for_each_shared(Body&& body) {
  const DropoutDraw draw{0x0123456789ABCDEFu, 0xFEDCBA9876543210u, two_32 / 3 * 2, 0};
  int turn = 0;
  for (const Axes& axes : shared_axes()) {
    for (const DropoutKind kind : kinds) {
      Problem<T> problem(axes, draw, kind);
      problem.on_device = turn++ % 2 == 1;
      body(problem);
    }
  }
}

// The same for masks, from several elements on.
template <class Body>
void for_each_shared_keep(Body&& body) {
  for (const Axes& axes : shared_axes()) {
    for (const std::uint64_t first : {0, 1, 5}) {
      const DropoutDraw draw{17, two_32 + 5, two_32 / 2, first};
      KeepProblem problem(axes.count() - static_cast<std::int64_t>(first), draw, axes);
      body(problem);
    }
  }
}

}  // namespace normdrop::driver::dropout
