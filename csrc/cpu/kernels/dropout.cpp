// Dropout (Hinton et al. 2012, Srivastava et al. 2014), inverted form, of count elements:
//   y[i] = word(i) < threshold ? x[i] * scale : 0
//   word(i) = philox4x32_10(counter = (i / 4, call), key = seed)[i % 4]
// Blocks of elements are tasks; words are used as they are made, so that memory sees one read and
// one write. A dropped element is 0 also where x is inf or NaN: select, not multiply. Nothing is
// stored for the backward pass, which is the same function.
#include "ops/dropout.h"
#include "cpu/arithmetic/philox_words.h"
#include "cpu/engines/for_dtype.h"
#include "cpu/kernels/kernels.h"
#include "cpu/parallel.h"
#include "cpu/simd/simd_half.h"

namespace normdrop::NORMDROP_ISA {
namespace {

constexpr std::int64_t block_elements = 16384;

// Calls body(begin, end) for blocks of elements. All boundaries but the ends lie `shift` elements
// behind a multiple of the block size.
template <class Body>
NORMDROP_INLINE void for_each_block(std::int64_t count, std::int64_t shift, Body&& body) {
  const std::int64_t blocks = (count + block_elements - 1) / block_elements;
  const auto boundary = [&](std::int64_t block) {
    const std::int64_t place = block * block_elements + shift;
    return block == 0 ? 0 : (block == blocks || place > count ? count : place);
  };
  parallel_for(blocks, block_elements,
               [&](std::int64_t block) { body(boundary(block), boundary(block + 1)); });
}

// Calls body(offset, count, words) for pieces of [begin, end); words[k] is that of offset + k. A last
// pack of them may be read beyond the words that there are.
template <class Body>
NORMDROP_INLINE void for_each_piece(const DropoutDraw& draw, const PhiloxKeys& keys,
                                    std::int64_t begin, std::int64_t end, Body&& body) {
  alignas(64) std::uint32_t words[words_at_once + pack_size];
  for (std::int64_t i = begin; i < end;) {
    const std::uint64_t index = draw.first_index + static_cast<std::uint64_t>(i);
    const std::int64_t skip = static_cast<std::int64_t>(index % 4);
    const std::int64_t room = words_at_once - skip;
    const std::int64_t count = end - i < room ? end - i : room;
    philox_words(index - static_cast<std::uint64_t>(skip), keys, words);
    body(i, count, words + skip);
    i += count;
  }
}

template <class T>
struct Apply {
  const Dropout& a;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  std::uint32_t last_kept = static_cast<std::uint32_t>(a.draw.threshold - 1);
  wide<T> scale = static_cast<wide<T>>(a.scale);
  PhiloxKeys keys = philox_keys(a.draw.seed, a.draw.call);

  // Making words leaves memory idle for longer than the processor looks ahead.
  template <bool streaming>
  NORMDROP_LAMBDA_INLINE void prefetch(std::int64_t i) const {
    constexpr std::int64_t bytes = static_cast<std::int64_t>(sizeof(T)) * words_at_once;
    const std::int64_t next = i + 2 * words_at_once;
    if (next + words_at_once > a.count) return;
    for (std::int64_t line = 0; line < bytes; line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(x + next) + line, 0);
      if (!streaming) __builtin_prefetch(reinterpret_cast<const char*>(y + next) + line, 1);
    }
  }

  // Any elements: words by way of L1.
  void pieces(std::int64_t begin, std::int64_t end) const {
    for_each_piece(a.draw, keys, begin, end,
                   [&](std::int64_t i, std::int64_t count, const std::uint32_t* words)
                       NORMDROP_LAMBDA_INLINE {
      prefetch<false>(i);
      if constexpr (half_type<T>) {
        half_piece(i, count, words);
      } else {
#pragma omp simd
        for (std::int64_t k = 0; k < count; ++k) {
          const T product = x[i + k] * scale;
          y[i + k] = words[k] <= last_kept ? product : T(0);
        }
      }
    });
  }

  // The product is rounded to float32 and then to the type that is stored, as everywhere.
  NORMDROP_LAMBDA_INLINE void half_piece(std::int64_t begin, std::int64_t count,
                                         const std::uint32_t* words) const {
    const u32 limit = last_kept - u32{};
    const float_pack scales = splat_float(scale);
    for_each_pack(count, [&](std::int64_t k, auto extent) NORMDROP_LAMBDA_INLINE {
      float_pack kept = load_float(x + begin + k, extent) * scales;
      NORMDROP_EACH_FLOAT_PART {
        u32 word;
        std::memcpy(&word, words + k + p * float_lanes, sizeof word);
        kept.part[p] = word <= limit ? kept.part[p] : f32{};
      }
      store_float(y + begin + k, kept, extent);
    });
  }

  // Not float64; from an element on whose index is a multiple of 4: words stay in registers.
  template <bool streaming>
  void vectors(std::int64_t begin, std::int64_t end) const {
    const u32 limit = last_kept - u32{};
    const f32 scales = scale - f32{};
    std::int64_t i = begin;
    for (; i + words_at_once <= end; i += words_at_once) {
      prefetch<streaming>(i);
      philox_words(draw_index(i), keys, [&](int offset, u64 words) NORMDROP_LAMBDA_INLINE {
        const f32 product = load_vector(x + i + offset) * scales;
        const f32 kept = reinterpret_cast<u32>(words) <= limit ? product : f32{};
        if constexpr (streaming) {
          stream_vector(y + i + offset, kept);
        } else {
          store_vector(y + i + offset, kept);
        }
      });
    }
    pieces(i, end);
  }

  std::uint64_t draw_index(std::int64_t i) const {
    return a.draw.first_index + static_cast<std::uint64_t>(i);
  }
};

template <class T>
void run(const Dropout& a) {
  if (a.draw.threshold == 0) {
    for_each_block(a.count, 0, [&](std::int64_t begin, std::int64_t end) {
      std::memset(static_cast<T*>(a.y) + begin, 0,
                  sizeof(T) * static_cast<std::size_t>(end - begin));
    });
    return;
  }
  const Apply<T> apply{a};
  if constexpr (is_narrow<T>) {
    // Blocks begin at a whole Philox block, and where the output is streamed, on a cache line.
    const auto to_block = static_cast<std::int64_t>(-a.draw.first_index % 4);
    const Writing how = writing_of<T>(a.y, a.count, 0, a.count);
    const bool streaming = how.streaming && a.x != a.y && how.head % 4 == to_block;
    const std::int64_t shift = streaming ? how.head : to_block;
    for_each_block(a.count, shift, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t from = begin > 0 ? begin : (shift < end ? shift : end);
      apply.pieces(begin, from);
      streaming ? apply.template vectors<true>(from, end)
                : apply.template vectors<false>(from, end);
    });
  } else {
    for_each_block(a.count, 0,
                   [&](std::int64_t begin, std::int64_t end) { apply.pieces(begin, end); });
  }
}

}  // namespace

void dropout(const Dropout& a) {
  for_dtype(a.dtype, [&](auto element) { run<decltype(element)>(a); });
}

void dropout_keep(const DropoutKeep& a) {
  const PhiloxKeys keys = philox_keys(a.draw.seed, a.draw.call);
  for_each_block(a.count, 0, [&](std::int64_t begin, std::int64_t end) {
    for_each_piece(a.draw, keys, begin, end,
                   [&](std::int64_t i, std::int64_t count, const std::uint32_t* words)
                       NORMDROP_LAMBDA_INLINE {
      for (std::int64_t k = 0; k < count; ++k) {
        a.keep[i + k] = words[k] < a.draw.threshold ? 1 : 0;
      }
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
