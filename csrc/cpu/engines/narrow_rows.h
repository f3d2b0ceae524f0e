// Rows of few channels: `together` of them are seen as one row of so many times the channels, which
// fills whole packs. The last row is shorter where their number is no multiple. How they are cut
// follows from the shape alone; rows with gaps between them are packed first, for the same bits.
#pragma once

#include "cpu/parallel.h"
#include "cpu/tuning.h"

namespace normdrop::NORMDROP_ISA {

struct NarrowRows {
  std::int64_t together;  // 1: rows as they are
  std::int64_t columns;   // of a row as it is seen
  std::int64_t rows;      // so seen, the last one included
  std::int64_t last;      // columns of the last one

  std::int64_t columns_of(std::int64_t row) const { return row + 1 < rows ? columns : last; }
  std::int64_t full_rows() const { return last == columns ? rows : rows - 1; }
};

// Rows of fewer than `narrow` channels become rows of at least `elements` elements.
NORMDROP_INLINE NarrowRows plan_narrow_rows(std::int64_t rows, std::int64_t channels,
                                            std::int64_t narrow, std::int64_t elements) {
  std::int64_t together = 1;
  if (channels < narrow) {
    // Whole packs, and enough of them.
    while (together * channels % 16 != 0) together *= 2;
    while (together * channels < elements) together *= 2;
  }
  if (rows < together) together = 1;
  const std::int64_t seen = (rows + together - 1) / together;
  const std::int64_t last = rows - (seen - 1) * together;
  return {together, together * channels, seen, last * channels};
}

// Where columns are summed, and where they are only written.
NORMDROP_INLINE NarrowRows plan_summed_rows(std::int64_t rows, std::int64_t channels) {
  return plan_narrow_rows(rows, channels, cpu::tuning::narrow_channels_summed,
                          cpu::tuning::narrow_row_summed);
}
NORMDROP_INLINE NarrowRows plan_written_rows(std::int64_t rows, std::int64_t channels,
                                             bool without_gaps) {
  if (!without_gaps) return {1, channels, rows, channels};
  return plan_narrow_rows(rows, channels, cpu::tuning::narrow_channels_written,
                          cpu::tuning::narrow_row_written);
}

// An array of rows without gaps: itself, or a copy.
template <class T>
class PackedRows {
 public:
  PackedRows(const T* data, std::int64_t rows, std::int64_t channels, std::int64_t stride)
      : data_(data), copy_(stride == channels ? 0 : rows * channels) {
    if (stride == channels) return;
    for (std::int64_t i = 0; i < rows * channels; ++i) {
      copy_[i] = data[i / channels * stride + i % channels];
    }
    data_ = copy_.data();
  }
  const T* data() const { return data_; }

 private:
  const T* data_;
  Scratch<T> copy_;
};

// Where rows without gaps are written: to the target itself, or on their way to it.
template <class T>
class UnpackedRows {
 public:
  UnpackedRows(T* target, std::int64_t rows, std::int64_t channels, std::int64_t stride)
      : target_(target),
        rows_(rows),
        channels_(channels),
        stride_(stride),
        packed_(stride == channels ? 0 : rows * channels) {}
  T* data() const { return stride_ == channels_ ? target_ : packed_.data(); }
  void deliver() const {
    if (stride_ == channels_) return;
    for (std::int64_t i = 0; i < rows_ * channels_; ++i) {
      target_[i / channels_ * stride_ + i % channels_] = packed_[i];
    }
  }

 private:
  T* target_;
  std::int64_t rows_;
  std::int64_t channels_;
  std::int64_t stride_;
  Scratch<T> packed_;
};

}  // namespace normdrop::NORMDROP_ISA
