// Memory in which a kernel cannot go astray unseen.
//
// A Region is a mapping between two inaccessible guard pages. An Array lies in it as (rows, length)
//   ends_at_guard    its last element touches the guard page behind
//   begins_at_guard  its first element touches the guard page in front
//   at_offset        any number of bytes behind a 64-byte boundary
// and whatever is beside it, gaps between its rows included, is filled with canaries that are
// looked at afterwards. Gaps may be huge: the mapping is sparse, and only their ends are filled.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness.h"
#include "sanitizer.h"

namespace normdrop::driver {

// As a float or a double a finite, huge number: one that is read spoils every result it reaches.
// Every other argument has the number below it, so that a copied canary shows too.
inline constexpr int canary_byte = 0x7E;
// A finite, huge number of every dtype: no NaN, because kernels may write any NaN where one belongs.
inline constexpr int unwritten_byte = 0xF7;
inline constexpr std::int64_t canary_bytes = 1024;

struct Place {
  enum Kind { ends_at_guard, begins_at_guard, at_offset } kind;
  std::int64_t offset_bytes;
  int canary = canary_byte;

  // Every argument of a call gets an offset of its own, a multiple of its items' size; `which` 0
  // keeps the one given.
  Place of_argument(int which, std::int64_t item_bytes) const {
    const std::int64_t items = offset_bytes / item_bytes + which * 5;
    return {kind, items * item_bytes % 64, canary_byte - which % 2};
  }
  const char* name() const;
};

struct Layout {
  std::int64_t gap;  // elements between the end of a row and the next one in memory
  bool backwards;    // row 0 is the last in memory: a negative stride

  // Every argument of a call gets a stride of its own; `which` 0 keeps the one given.
  Layout of_argument(int which) const { return {gap == 0 ? 0 : gap + which, backwards}; }
};

class Region {
 public:
  Region() = default;
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // The first of `bytes` bytes placed as asked, which must be a multiple of their alignment.
  // std::bad_alloc where there is no such mapping. What the region held before is given up.
  char* take(const Place& place, std::int64_t bytes);
  // Gives a large mapping back.
  void release();

 private:
  void reserve(std::int64_t bytes);
  char* mapping_ = nullptr;
  std::int64_t capacity_ = 0;  // between the guard pages
};

// One region for every argument of a call.
class Memory {
 public:
  Region& of_argument(int which) { return regions_.at(static_cast<std::size_t>(which)); }

 private:
  std::array<Region, 12> regions_;
};

// The bytes around and between the rows of an array.
class Canaries {
 public:
  Canaries(const Place& place, char* begin, std::int64_t row_bytes, std::int64_t gap_bytes,
           std::int64_t rows);
  ~Canaries();
  Canaries(const Canaries&) = delete;
  Canaries& operator=(const Canaries&) = delete;

  // False where one was overwritten. Sanitizers no longer watch them afterwards.
  bool intact();

 private:
  template <class Body>
  void for_each_part(Body&& body) const;
  void unwatch();

  char* begin_;
  int canary_;
  std::int64_t front_bytes_;
  std::int64_t back_bytes_;
  std::int64_t row_bytes_;
  std::int64_t gap_bytes_;
  std::int64_t rows_;
};

template <class T>
class Array {
 public:
  static constexpr std::int64_t item = sizeof(T);

  // Filled with `unwritten_byte`.
  Array(Region& region, const Place& place, std::int64_t rows, std::int64_t length, Layout layout)
      : rows_(length > 0 ? rows : 0),
        length_(length),
        pitch_(length + layout.gap),
        backwards_(layout.backwards),
        begin_(region.take(place, rows_ > 0 ? ((rows_ - 1) * pitch_ + length) * item : 0)),
        canaries_(place, begin_, length * item, layout.gap * item, rows_) {
    for (std::int64_t i = 0; i < rows_; ++i) {
      std::memset(static_cast<void*>(row(i)), unwritten_byte, row_bytes());
    }
  }
  // A single dense run.
  Array(Region& region, const Place& place, std::int64_t length)
      : Array(region, place, 1, length, {0, false}) {}
  // As above, holding `values`.
  Array(Region& region, const Place& place, std::int64_t rows, std::int64_t length, Layout layout,
        const std::vector<T>& values)
      : Array(region, place, rows, length, layout) {
    for (std::int64_t i = 0; i < rows_; ++i) {
      std::memcpy(static_cast<void*>(row(i)), values.data() + i * length_, row_bytes());
    }
  }
  Array(Region& region, const Place& place, const std::vector<T>& values)
      : Array(region, place, 1, static_cast<std::int64_t>(values.size()), {0, false}, values) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t length() const { return length_; }
  T* data() const { return row(0); }
  std::int64_t stride() const { return backwards_ ? -pitch_ : pitch_; }
  T* row(std::int64_t i) const {
    const std::int64_t place = backwards_ && rows_ > 0 ? rows_ - 1 - i : i;
    return reinterpret_cast<T*>(begin_) + place * pitch_;
  }

  // The bits, not the values.
  bool holds(const std::vector<T>& values) const {
    for (std::int64_t i = 0; i < rows_; ++i) {
      if (std::memcmp(row(i), values.data() + i * length_, row_bytes()) != 0) return false;
    }
    return true;
  }
  void check_surroundings(Case& one, const char* name) {
    if (!canaries_.intact()) one.fail("%s: wrote outside of it", name);
  }
  void check_unchanged(Case& one, const char* name, const std::vector<T>& values) {
    check_surroundings(one, name);
    if (!holds(values)) one.fail("%s: an input was changed", name);
  }

 private:
  std::size_t row_bytes() const { return static_cast<std::size_t>(length_ * item); }

  std::int64_t rows_;
  std::int64_t length_;
  std::int64_t pitch_;
  bool backwards_;
  char* begin_;
  Canaries canaries_;
};

}  // namespace normdrop::driver
