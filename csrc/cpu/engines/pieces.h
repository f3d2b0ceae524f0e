// Pieces of long runs, so that a single run is work for all threads. They follow from the length
// alone.
#pragma once

#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

struct Pieces {
  std::int64_t count;
  std::int64_t length;  // of all but the last
  std::int64_t all;
  std::int64_t begin(std::int64_t piece) const { return piece * length; }
  std::int64_t size(std::int64_t piece) const {
    return piece + 1 < count ? length : all - begin(piece);
  }
};

NORMDROP_INLINE Pieces plan_pieces(std::int64_t length) {
  const std::int64_t piece = cpu::tuning::slot_elements;
  if (length <= piece) return {1, length, length};
  return {(length + piece - 1) / piece, piece, length};
}

}  // namespace normdrop::NORMDROP_ISA
