#include "variants.h"

#include <cstdio>

namespace normdrop::driver {
namespace {

constexpr int thread_counts[] = {1, 2, 3, 7};
constexpr Layout layouts[] = {{0, false}, {3, false}, {5, true}};

}  // namespace

std::string Variant::text() const {
  char text[128];
  std::snprintf(text, sizeof text, "%s (%d), gap %lld%s%s, outputs %u, threads %d", place.name(),
                static_cast<int>(place.offset_bytes), static_cast<long long>(layout.gap),
                layout.backwards ? " backwards" : "", in_place ? ", in place" : "", outputs,
                threads);
  return text;
}

Variants::Variants(std::int64_t item_bytes, unsigned optional_outputs)
    : item_bytes_(item_bytes), choices_(1u << optional_outputs) {}

std::vector<Place> Variants::places() const {
  std::vector<Place> all{{Place::ends_at_guard, 0}, {Place::begins_at_guard, 0}};
  for (std::int64_t offset = 0; offset < 64; offset += item_bytes_) {
    all.push_back({Place::at_offset, offset});
  }
  return all;
}

std::vector<Variant> Variants::every() const {
  std::vector<Variant> all;
  for (const Place& place : places()) {
    for (const Layout& layout : layouts) {
      for (const bool in_place : {false, true}) {
        for (unsigned outputs = choices_; outputs-- > 0;) {
          const int threads = thread_counts[(all.size() + all.size() / 8) % 4];
          all.push_back({place, layout, in_place, outputs, threads});
        }
      }
    }
  }
  return all;
}

// Every choice by other digits of a number that jumps from turn to turn, so that all pairs of
// choices meet sooner or later, and the same ones in every run.
Variant Variants::next(Place::Kind kind) {
  const std::uint32_t digits = ++turn_ * 0x9E3779B9u;
  const auto choose = [&](int which, unsigned choices) {
    return (digits >> (4 + 5 * which)) % 1024u * choices / 1024u;
  };
  const std::int64_t offsets = 64 / item_bytes_;
  const std::int64_t offset = kind == Place::at_offset ? turn_ % offsets * item_bytes_ : 0;
  return {{kind, offset},
          layouts[choose(0, 3)],
          choose(1, 2) == 1,
          choose(2, choices_),
          thread_counts[choose(3, 4)]};
}

std::vector<Variant> Variants::some(int offsets, int rounds) {
  std::vector<Variant> some;
  for (int round = 0; round < rounds; ++round) {
    some.push_back(next(Place::ends_at_guard));
    some.push_back(next(Place::begins_at_guard));
    for (int i = 0; i < offsets; ++i) some.push_back(next(Place::at_offset));
  }
  return some;
}

std::vector<Variant> Variants::streamed(std::int64_t gap) const {
  const unsigned all = choices_ - 1;
  return {
      {{Place::begins_at_guard, 0}, {gap, false}, false, all, 1},
      {{Place::begins_at_guard, 0}, {gap, false}, false, all, 7},
      {{Place::begins_at_guard, 0}, {gap, false}, true, 0, 2},
      {{Place::ends_at_guard, 0}, {gap, false}, false, all, 3},
      {{Place::begins_at_guard, 0}, {gap + 64, true}, false, 0, 2},
      {{Place::at_offset, item_bytes_}, {gap, false}, false, all, 2},
      {{Place::begins_at_guard, 0}, {gap + 1, false}, false, all, 3},
  };
}

std::vector<Variant> Variants::far(std::int64_t length) const {
  const std::int64_t gap = far_bytes / item_bytes_ - length;
  return {
      {{Place::ends_at_guard, 0}, {gap, false}, false, choices_ - 1, 1},
      {{Place::begins_at_guard, 0}, {gap, true}, false, choices_ - 1, 2},
      {{Place::at_offset, item_bytes_}, {gap, true}, true, 0, 3},
      {{Place::at_offset, 0}, {gap, false}, true, choices_ - 1, 7},
  };
}

}  // namespace normdrop::driver
