// How elements meet their words. Neighbours in C order either have words that follow each other or
// share one: `for_each_segment` goes along an array in such segments, whatever axes are shared.
// `DrawnValues` holds what a functor makes of the latest words, so that rows that share them find
// them again. Words are used as they are made: memory sees one read and one write.
#pragma once

#include "cpu/arithmetic/noise.h"
#include "cpu/parallel.h"

namespace normdrop::NORMDROP_ISA {

// Shorter runs of one word are brought together to whole vectors.
inline constexpr std::int64_t short_run = 32;

// Calls body(begin, end) for blocks of elements. All boundaries but the ends lie `shift` elements
// behind a multiple of the block size.
template <class Body>
NORMDROP_INLINE void for_each_block(std::int64_t count, std::int64_t shift, Body&& body) {
  constexpr std::int64_t block_elements = 16384;
  const std::int64_t blocks = (count + block_elements - 1) / block_elements;
  const auto boundary = [&](std::int64_t block) {
    const std::int64_t place = block * block_elements + shift;
    return block == 0 ? 0 : (block == blocks || place > count ? count : place);
  };
  parallel_for(blocks, block_elements,
               [&](std::int64_t block) { body(boundary(block), boundary(block + 1)); });
}

// The index of the first word of a line: of all drawn elements that are neighbours.
static inline std::uint64_t first_word(const DrawnShape& shape, std::int64_t line) {
  std::int64_t left = line / shape.rows;
  std::int64_t index = 0;
  for (int axis = shape.outer_axes - 1; axis >= 0; --axis) {
    index += left % shape.outer[axis].size * shape.outer[axis].step;
    left /= shape.outer[axis].size;
  }
  return static_cast<std::uint64_t>(index);
}

// Calls elements(offset, count, word) for neighbours with words that follow each other, and
// run(offset, count, word) for those that share one, `word` being the index of the first.
template <class Elements, class Run>
NORMDROP_INLINE void for_each_segment(const DrawnShape& shape, std::uint64_t first_index,
                                      std::int64_t begin, std::int64_t end, Elements&& elements,
                                      Run&& run) {
  if (is_plain(shape)) {
    if (begin < end) elements(begin, end - begin, first_index + static_cast<std::uint64_t>(begin));
    return;
  }
  const std::int64_t first = static_cast<std::int64_t>(first_index) + begin;
  std::int64_t in_run = first % shape.inner;
  std::int64_t drawn = first / shape.inner % shape.drawn;
  std::int64_t line = first / shape.inner / shape.drawn;
  for (std::int64_t i = begin; i < end; ++line, drawn = 0) {
    const std::uint64_t word = first_word(shape, line);
    if (shape.inner == 1) {
      const std::int64_t left = shape.drawn - drawn;
      const std::int64_t count = left < end - i ? left : end - i;
      elements(i, count, word + static_cast<std::uint64_t>(drawn));
      i += count;
      continue;
    }
    for (; drawn < shape.drawn && i < end; ++drawn, in_run = 0) {
      const std::int64_t left = shape.inner - in_run;
      const std::int64_t count = left < end - i ? left : end - i;
      run(i, count, word + static_cast<std::uint64_t>(drawn));
      i += count;
    }
  }
}

// One copy of the generator for all functors: what follows reads the words from memory anyway.
__attribute__((noinline)) static inline void draw_words(std::uint64_t first,
                                                        const PhiloxKeys& __restrict keys,
                                                        std::uint32_t* __restrict words) {
  philox_words(first, keys, words);
}

// Values of drawn elements, made some hundred at a time and kept until others are asked for.
template <class Noise>
class DrawnValues {
 public:
  using Value = typename Noise::Value;

  DrawnValues(const Noise& noise, const PhiloxKeys& keys) : noise_(noise), keys_(keys) {}

  // The value of an index, and behind it those of later ones: `*count` of them, at most as many as
  // asked for. A last pack of them may be read beyond the values that there are.
  NORMDROP_LAMBDA_INLINE const Value* from(std::uint64_t index, std::int64_t* count) {
    if (index - first_ >= filled_) fill(index, *count);
    const auto place = static_cast<std::int64_t>(index - first_);
    const std::int64_t there = static_cast<std::int64_t>(filled_) - place;
    if (there < *count) *count = there;
    return values_ + place;
  }

 private:
  static constexpr std::int64_t capacity = 4 * words_at_once;

  void fill(std::uint64_t index, std::int64_t wanted) {
    first_ = index - index % 4;
    filled_ = 0;
    const std::int64_t needed = wanted + static_cast<std::int64_t>(index % 4);
    do {
      if constexpr (Noise::takes_words) {
        draw_words(first_ + filled_, keys_, values_ + filled_);
      } else {
        alignas(64) std::uint32_t words[words_at_once];
        draw_words(first_ + filled_, keys_, words);
        noise_.values(words, values_ + filled_);
      }
      filled_ += words_at_once;
    } while (static_cast<std::int64_t>(filled_) < capacity &&
             static_cast<std::int64_t>(filled_) < needed);
  }

  const Noise& noise_;
  const PhiloxKeys& keys_;
  std::uint64_t first_ = 0;
  std::uint64_t filled_ = 0;
  alignas(64) Value values_[capacity + pack_size];
};

// A vector of floats, or of the words beside them.
NORMDROP_INLINE f32 load_values(const float* source) { return load_vector(source); }
NORMDROP_INLINE u32 load_values(const std::uint32_t* source) {
  u32 words;
  std::memcpy(&words, source, sizeof words);
  return words;
}

// y = noise(x, value) for neighbours, whose values are neighbours too. The functor comes by value, so
// that no store to y may change it.
template <class T, class Noise>
NORMDROP_INLINE void with_values(const Noise noise, const T* x, T* y, std::int64_t count,
                                 const typename Noise::Value* values, Writing how) {
  if constexpr (is_narrow<T>) {
    for_each_pack_after(how.head, count, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
      float_pack pack = load_float(x + k, extent);
      NORMDROP_EACH_FLOAT_PART {
        pack.part[p] = noise(pack.part[p], load_values(values + k + p * float_lanes));
      }
      store(y + k, pack, extent, how);
    });
  } else {
#pragma omp simd
    for (std::int64_t k = 0; k < count; ++k) y[k] = noise(x[k], values[k]);
  }
}

// The same for a run of elements that share a value. What is dropped is not read.
template <class T>
NORMDROP_INLINE void with_line(const NoiseLine<wide<T>> line, const T* x, T* y, std::int64_t count,
                               Writing how) {
  if constexpr (is_narrow<T>) {
    const float_pack scale = splat_float(line.scale);
    const float_pack shift = splat_float(line.shift);
    const float_pack value = splat_float(line.value);
    if (line.constant) {
      for_each_pack_after(how.head, count, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
        store(y + k, value, extent, how);
      });
    } else {
      for_each_pack_after(how.head, count, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
        store(y + k, load_float(x + k, extent) * scale + shift, extent, how);
      });
    }
  } else if (line.constant) {
    for (std::int64_t k = 0; k < count; ++k) y[k] = line.value;
  } else {
#pragma omp simd
    for (std::int64_t k = 0; k < count; ++k) y[k] = x[k] * line.scale + line.shift;
  }
}

}  // namespace normdrop::NORMDROP_ISA
