// Rows of few channels: `together` of them are seen as one row of so many times the channels, which
// fills whole packs. The last row is shorter where their number is no multiple. How they are cut
// follows from the shape alone where they are summed, and rows with gaps are packed first, for the same
// bits; rows that are only written stay apart where there are gaps.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd/simd.h"
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
  if (channels > 0 && channels < narrow) {
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

template <class T>
NORMDROP_OUT_OF_LINE void copy_rows(const T* from, std::int64_t from_stride, T* to,
                                    std::int64_t to_stride, std::int64_t rows,
                                    std::int64_t channels) {
  const std::int64_t block = cpu::tuning::row_block_elements / channels;
  parallel_for((rows + block - 1) / block, block * channels, [&](std::int64_t task) {
    const std::int64_t end = rows - task * block < block ? rows : (task + 1) * block;
    for (std::int64_t row = task * block; row < end; ++row) {
      const T* source = from + row * from_stride;
      T* target = to + row * to_stride;
      for (std::int64_t c = 0; c < channels; ++c) target[c] = source[c];
    }
  });
}

// An array of rows without gaps: itself, or a copy.
template <class T>
class PackedRows {
 public:
  PackedRows(const T* data, std::int64_t rows, std::int64_t channels, std::int64_t stride)
      : data_(data), copy_(stride == channels ? 0 : rows * channels) {
    if (stride == channels) return;
    copy_rows(data, stride, copy_.data(), channels, rows, channels);
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
    copy_rows(packed_.data(), channels_, target_, stride_, rows_, channels_);
  }

 private:
  T* target_;
  std::int64_t rows_;
  std::int64_t channels_;
  std::int64_t stride_;
  Scratch<T> packed_;
};

}  // namespace normdrop::NORMDROP_ISA
