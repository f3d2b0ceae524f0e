// The ways in which one call is made: where its arguments lie, how their rows are spaced, what is
// asked for and by how many threads. None of it may move a bit of any result.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"

namespace normdrop::driver {

struct Variant {
  Place place;
  Layout layout;
  bool in_place;     // the output lies where an input of the same shape does
  unsigned outputs;  // a bit for every optional output
  int threads;

  bool wants(unsigned output) const { return (outputs >> output & 1u) != 0; }
  std::string text() const;
};

// The rows of a kernel are at most this far apart in `far` variants: beyond 32 bits in bytes, and
// from the third row on in elements.
inline constexpr std::int64_t far_bytes = std::int64_t{1} << 33;

class Variants {
 public:
  // Elements of `item_bytes`; `optional_outputs` of them may be left out.
  Variants(std::int64_t item_bytes, unsigned optional_outputs);

  // Every place with every layout and choice of outputs, in place and not.
  std::vector<Variant> every() const;
  // At both guards and at `offsets` offsets, `rounds` times; all else changes from call to call.
  std::vector<Variant> some(int offsets, int rounds);
  // For outputs written past the caches, which takes rows on 64-byte boundaries: with such rows
  // (`gap` makes them so) and without.
  std::vector<Variant> streamed(std::int64_t gap) const;
  // Rows 2^33 bytes apart, forwards and backwards.
  std::vector<Variant> far(std::int64_t length) const;

 private:
  std::vector<Place> places() const;
  Variant next(Place::Kind kind);

  std::int64_t item_bytes_;
  unsigned choices_;  // of optional outputs
  std::uint32_t turn_ = 0;
};

}  // namespace normdrop::driver
