// Dropout (Hinton et al. 2012, Srivastava et al. 2014), inverted form, of count elements:
//   y[i] = word(i) < threshold ? x[i] * scale : 0
//   word(i) = philox4x32_10(counter = (i / 4, call), key = seed)[i % 4]
// Blocks of elements are tasks; a block's words are made in L1 and used at once, so that memory
// sees one read and one write. A dropped element is 0 also where x is inf or NaN: select, not
// multiply. Nothing is stored for the backward pass, which is the same function.
#include "ops/dropout.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/philox_words.h"
#include "cpu/parallel.h"

namespace normdrop::NORMDROP_ISA {
namespace {

constexpr std::int64_t block_elements = 16384;

// Calls body(offset, count, words) for pieces of one block; words[k] is that of offset + k.
// Before a piece's words are made, ahead(offset) can ask memory for what comes next.
template <class Ahead, class Body>
NORMDROP_INLINE void for_each_piece(const DropoutDraw& draw, std::int64_t begin, std::int64_t end,
                                    Ahead&& ahead, Body&& body) {
  const PhiloxKeys keys = philox_keys(draw.seed);
  alignas(64) std::uint32_t words[words_at_once];
  for (std::int64_t i = begin; i < end;) {
    const std::uint64_t index = draw.first_index + static_cast<std::uint64_t>(i);
    const std::int64_t skip = static_cast<std::int64_t>(index % 4);
    const std::int64_t room = words_at_once - skip;
    const std::int64_t count = end - i < room ? end - i : room;
    ahead(i);
    philox_words(index - static_cast<std::uint64_t>(skip), draw.call, keys, words);
    body(i, count, words + skip);
    i += count;
  }
}

template <class Ahead, class Body>
NORMDROP_INLINE void for_each_block(const DropoutDraw& draw, std::int64_t count, Ahead&& ahead,
                                    Body&& body) {
  const std::int64_t blocks = (count + block_elements - 1) / block_elements;
  parallel_for(blocks, block_elements, [&](std::int64_t block) {
    const std::int64_t begin = block * block_elements;
    const std::int64_t end = begin + block_elements < count ? begin + block_elements : count;
    for_each_piece(draw, begin, end, ahead, body);
  });
}

template <class T>
NORMDROP_INLINE void apply(const T* x, T* y, std::int64_t count, const std::uint32_t* words,
                           std::uint32_t last_kept, T scale) {
#pragma omp simd
  for (std::int64_t k = 0; k < count; ++k) {
    const T product = x[k] * scale;
    y[k] = words[k] <= last_kept ? product : T(0);
  }
}

template <class T>
void run(const Dropout& a) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  if (a.draw.threshold == 0) {
    parallel_for((a.count + block_elements - 1) / block_elements, block_elements,
                 [&](std::int64_t block) {
      const std::int64_t begin = block * block_elements;
      const std::int64_t left = a.count - begin;
      std::memset(
          y + begin, 0,
          sizeof(T) * static_cast<std::size_t>(left < block_elements ? left : block_elements));
    });
    return;
  }
  const auto last_kept = static_cast<std::uint32_t>(a.draw.threshold - 1);
  const T scale = static_cast<T>(a.scale);
  // Making words leaves memory idle for longer than the processor looks ahead.
  const std::int64_t bytes = static_cast<std::int64_t>(sizeof(T)) * words_at_once;
  const std::int64_t distance = 2 * words_at_once;
  const auto ahead = [&](std::int64_t i) NORMDROP_LAMBDA_INLINE {
    if (i + distance + words_at_once > a.count) return;
    for (std::int64_t line = 0; line < bytes; line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(x + i + distance) + line, 0);
      __builtin_prefetch(reinterpret_cast<const char*>(y + i + distance) + line, 1);
    }
  };
  const auto body = [&](std::int64_t i, std::int64_t count, const std::uint32_t* words)
                        NORMDROP_LAMBDA_INLINE {
    if (count == words_at_once) {
      apply<T>(x + i, y + i, words_at_once, words, last_kept, scale);
    } else {
      apply<T>(x + i, y + i, count, words, last_kept, scale);
    }
  };
  for_each_block(a.draw, a.count, ahead, body);
}

}  // namespace

void dropout(const Dropout& a) { a.dtype == DType::float32 ? run<float>(a) : run<double>(a); }

void dropout_keep(const DropoutKeep& a) {
  const auto nothing = [](std::int64_t) {};
  for_each_block(a.draw, a.count, nothing,
                 [&](std::int64_t i, std::int64_t count, const std::uint32_t* words)
                     NORMDROP_LAMBDA_INLINE {
    for (std::int64_t k = 0; k < count; ++k) {
      a.keep[i + k] = words[k] < a.draw.threshold ? 1 : 0;
    }
  });
}

}  // namespace normdrop::NORMDROP_ISA
