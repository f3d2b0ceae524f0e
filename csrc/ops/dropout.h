// Dropout and the noise of its family, by a counter-based generator. An element takes the word of its
// index among the drawn ones, those of the shape whose shared axes have size 1:
//   word(j) = philox4x32_10(counter = (j / 4, call), key = seed)[j % 4]
// Without shared axes that is its index in C order. Forward and backward are the same function.
#pragma once

#include <cstdint>

#include "ops/dtype.h"

namespace normdrop {

struct DropoutDraw {
  std::uint64_t seed;
  std::uint64_t call;
  std::uint64_t threshold;    // kept iff word < threshold; 0 .. 2^32
  std::uint64_t first_index;  // logical index of element 0, in C order
};

// What a word does to its elements; p is the probability of dropping.
enum class DropoutKind {
  dropout,   // kept ? x * scale : 0
  alpha,     // kept ? x * scale + shift : dropped
  uniform,   // x * (1 + scale * ((word - 2^31) + 1/2))
  gaussian,  // x * (1 + scale^(1/2) * normal), normals by Box and Muller from pairs of words
};

struct DrawnAxis {
  std::int64_t size;
  std::int64_t step;  // from a word to that of the next index; 0 along a shared axis
};

// The array as (outer axes, rows, drawn, inner) in C order: element (o, r, d, i) takes the word of
// d + the sum of its outer indices times their steps. A plain array has neither outer axes nor rows
// nor inner ones, and every element has a word of its own.
struct DrawnShape {
  std::int64_t rows = 1;   // share the words of a row
  std::int64_t drawn = 1;  // neighbours with words of their own
  std::int64_t inner = 1;  // neighbours that share a word
  int outer_axes = 0;
  const DrawnAxis* outer = nullptr;  // (outer_axes,) in the host's memory, the outermost first
};

// Static, as a member cannot be: objects of several instruction sets include this.
static constexpr bool is_plain(const DrawnShape& shape) {
  return shape.rows == 1 && shape.inner == 1 && shape.outer_axes == 0;
}

struct Dropout {
  DType dtype;
  DropoutKind kind = DropoutKind::dropout;
  std::int64_t count;
  DropoutDraw draw;
  DrawnShape shape = {};
  // Of the kind, each rounded to the arithmetic type; with threshold 0 all of y is 0.
  double scale;
  double shift = 0;
  double dropped = 0;
  const void* x;  // (count,)
  void* y;        // (count,); may be x itself
  // On a device: (seed, call) in its memory, read by the kernel instead of the draw's; or null.
  const std::uint64_t* device_draw;
  void* stream;  // of a device; the CPU backends ignore it
};

struct DropoutKeep {
  std::int64_t count;
  DropoutDraw draw;
  DrawnShape shape = {};
  std::uint8_t* keep;                // (count,), 1 where kept
  const std::uint64_t* device_draw;  // as in Dropout
  void* stream;
};

}  // namespace normdrop
