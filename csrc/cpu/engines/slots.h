// Slots: the ranges of rows over which sums down the rows are cut, and their merging in order.
#pragma once

#include "cpu/arithmetic/double_double.h"
#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

// Rows are cut into slots by their number and length alone.
struct Slots {
  std::int64_t count;
  std::int64_t rows;  // per slot
  std::int64_t begin(std::int64_t slot) const { return slot * rows; }
  std::int64_t end(std::int64_t slot, std::int64_t all) const {
    return (slot + 1) * rows < all ? (slot + 1) * rows : all;
  }
};

NORMDROP_INLINE Slots plan_slots(std::int64_t rows, std::int64_t row_elements) {
  using namespace cpu::tuning;
  const std::int64_t at_least = (slot_elements + row_elements - 1) / row_elements;
  std::int64_t per_slot = (rows + row_slots - 1) / row_slots;
  per_slot = per_slot > at_least ? per_slot : at_least;
  return {(rows + per_slot - 1) / per_slot, per_slot};
}

template <class T>
NORMDROP_INLINE void fill_zero(T* target, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) target[i] = T(0);
}

// target[j] = sum over slots, in order, of partial[slot * stride + j]; float64 with the rounding
// errors of that sum, since sums that are alike all round in the same direction.
template <class T, class Target>
void merge_slots(const double* partial, std::int64_t slots, std::int64_t stride, std::int64_t count,
                 Target* target) {
  if (target == nullptr) return;
  for_each_pack(count, [&](std::int64_t j, auto extent) NORMDROP_LAMBDA_INLINE {
    running_sums<T> sum{};
    sum.sum = load(partial + j, extent);
    for (std::int64_t s = 1; s < slots; ++s) sum = add(sum, load(partial + s * stride + j, extent));
    store(target + j, sum_of(sum), extent);
  });
}

}  // namespace normdrop::NORMDROP_ISA
