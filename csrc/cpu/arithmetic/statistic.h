// A statistic of a set of elements, from its chunks to the set's normaliser. Moments (moments.h) and
// Squares (squares.h) are such statistics. Each has
//   Statistic::part<scaled>(chunk)               partial statistic of one chunk
//   merge(parts, count)                          of all parts, in order
//   is_finite(statistic), normaliser(statistic, eps, scale)
//   spoilt_normaliser(statistic, runs)           of a set that is not finite
#pragma once

#include "cpu/arithmetic/normaliser.h"
#include "cpu/arithmetic/runs.h"

namespace normdrop::NORMDROP_ISA {

struct Moments;

// What is done before a chunk is read; see Prologue in engines/axis.h.
struct NoPreparation {
  NORMDROP_LAMBDA_INLINE void operator()(std::int64_t, std::int64_t) const {}
};

// prepare(begin, length) is called before the elements of a single run from `begin` on are read.
template <class Statistic, bool scaled, class T, class Prepare = NoPreparation>
Statistic statistic_of(const Runs<T>& in, Prepare prepare = {}) {
  const bool is_chunk = in.runs == 1 && in.length <= chunk_elements<T>;
  const ChunkPlan plan =
      is_chunk ? ChunkPlan{1, in.length, 1, 1} : plan_chunks<T>(in.runs, in.length);
  if (plan.chunks == 1) {
    prepare(0, in.length);
    return Statistic::template part<scaled>(in);
  }
  Scratch<Statistic> parts(plan.chunks);
  for (std::int64_t c = 0; c < plan.chunks; ++c) {
    const Runs<T> chunk = chunk_of(in, plan, c);
    prepare(chunk.x - in.x, chunk.length);
    parts[c] = Statistic::template part<scaled>(chunk);
  }
  return merge(parts.data(), plan.chunks);
}

// Squares of doubles beyond about 1e150 overflow and below 1e-150 vanish. Such runs are done
// again, times one of two powers of two that together cover the whole range.
inline constexpr double shrink = 0x1p-700;
inline constexpr double grow = 0x1p+700;
inline constexpr double smallest_safe_variance = 0x1p-800;

template <class Statistic, class T>
Normaliser finish(const Statistic& statistic, const Runs<T>& in, double eps) {
  const bool finite = is_finite(statistic);
  const Normaliser plain = normaliser(statistic, eps, 1.0);
  if (finite && (is_narrow<T> || plain.var >= smallest_safe_variance)) return plain;
  Runs<T> runs = in;
  if constexpr (sizeof(T) == 8) {
    runs.scale = finite ? grow : shrink;
    const Statistic again = statistic_of<Statistic, true>(runs);
    if (is_finite(again)) return normaliser(again, eps, runs.scale);
    if (finite) return plain;  // a constant too large to grow
  }
  return spoilt_normaliser(statistic, runs);
}

template <class Statistic = Moments, class T>
Normaliser normaliser_of(const Runs<T>& in, double eps) {
  return finish(statistic_of<Statistic, false>(in), in, eps);
}

}  // namespace normdrop::NORMDROP_ISA
