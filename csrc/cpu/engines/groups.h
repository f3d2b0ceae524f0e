// What the passes of group norm share: the shape of a group, and short lines seen as rows.
#pragma once

#include "cpu/engines/channels.h"
#include "ops/group_norm.h"

namespace normdrop::NORMDROP_ISA {

// Of one batch index: a group is `before` runs of its channels' lines.
struct GroupShape {
  std::int64_t per_group;
  std::int64_t run_length;
  std::int64_t run_stride;
};

template <class Arguments>
NORMDROP_INLINE GroupShape shape_of(const Arguments& a) {
  const std::int64_t per_group = a.channels / a.groups;
  return {per_group, per_group * a.after, a.channels * a.after};
}

// Lines whose own scalars would take longer than their elements.
template <class Arguments>
NORMDROP_INLINE bool has_short_rows(const Arguments& a) {
  return a.before == 1 && a.after < cpu::tuning::shortest_line;
}

// Calls body(part) for every part: parts are tasks, or each is cut by itself where they are few.
template <class Body>
NORMDROP_INLINE void for_each_large_part(std::int64_t parts, std::int64_t elements_per_part,
                                         Body&& body) {
  if (!few_sets(parts)) return parallel_for(parts, elements_per_part, body);
  for (std::int64_t part = 0; part < parts; ++part) body(part);
}

}  // namespace normdrop::NORMDROP_ISA
