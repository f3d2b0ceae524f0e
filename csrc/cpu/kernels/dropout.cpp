// Dropout (Hinton et al. 2012, Srivastava et al. 2014) and the noise of its family, of count elements:
//   y[i] = noise(x[i], word of i),   word(j) = philox4x32_10(counter = (j / 4, call), key = seed)[j % 4]
// ops/dropout.h says what a word does and which elements share one. Blocks of elements are tasks.
// Where every element has a word of its own, words stay in registers (`vectors`); else they go by way
// of L1. Nothing is stored for the backward pass, which is the same function.
#include "ops/dropout.h"
#include "cpu/engines/for_dtype.h"
#include "cpu/engines/noise.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T, class Noise>
struct Apply {
  using Value = typename Noise::Value;
  const Dropout& a;
  const Noise noise{a};
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  PhiloxKeys keys = philox_keys(a.draw.seed, a.draw.call);

  // Making words leaves memory idle for longer than the processor looks ahead.
  NORMDROP_LAMBDA_INLINE void prefetch(std::int64_t i, bool streaming) const {
    constexpr std::int64_t bytes = static_cast<std::int64_t>(sizeof(T)) * words_at_once;
    const std::int64_t next = i + 2 * words_at_once;
    if (next + words_at_once > a.count) return;
    for (std::int64_t line = 0; line < bytes; line += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(x + next) + line, 0);
      if (!streaming) __builtin_prefetch(reinterpret_cast<const char*>(y + next) + line, 1);
    }
  }

  // Past the caches where that pays for all of y, from the first cache line of these elements on.
  NORMDROP_LAMBDA_INLINE Writing writing(std::int64_t i, std::int64_t count) const {
    if (a.x == a.y) return {};
    const Writing how = writing_of<T>(y + i, count, 0, a.count);
    return how.head < count ? how : Writing{};
  }

  // Any elements: values by way of L1.
  void pieces(std::int64_t begin, std::int64_t end) const {
    DrawnValues<Noise> drawn(noise, keys);
    for_each_segment(a.shape, a.draw.first_index, begin, end,
                     [&](std::int64_t i, std::int64_t count, std::uint64_t word) {
      elements(drawn, i, count, word);
    }, [&](std::int64_t i, std::int64_t count, std::uint64_t word) {
      std::int64_t one = 1;
      with_line(noise.line(*drawn.from(word, &one)), x + i, y + i, count, writing(i, count));
    });
  }

  void elements(DrawnValues<Noise>& drawn, std::int64_t begin, std::int64_t count,
                std::uint64_t word) const {
    // Rows may find values again, so that more of them are made at a time.
    const std::int64_t most = is_plain(a.shape) ? words_at_once : count;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t i = begin + done;
      std::int64_t some = count - done < most ? count - done : most;
      const Value* values = drawn.from(word + static_cast<std::uint64_t>(done), &some);
      if (some > words_at_once) some = words_at_once;
      prefetch(i, false);
      with_values(noise, x + i, y + i, some, values, writing(i, some));
      done += some;
    }
  }

  // Where runs of one word are short: each element gets its value.
  void short_runs(std::int64_t begin, std::int64_t end) const {
    constexpr std::int64_t together = 512;
    DrawnValues<Noise> drawn(noise, keys);
    alignas(64) Value values[together + pack_size];
    for (std::int64_t i = begin; i < end; i += together) {
      const std::int64_t count = end - i < together ? end - i : together;
      for_each_segment(a.shape, a.draw.first_index, i, i + count,
                       [](std::int64_t, std::int64_t, std::uint64_t) {},
                       [&](std::int64_t run, std::int64_t length, std::uint64_t word) {
        std::int64_t one = 1;
        const Value value = *drawn.from(word, &one);
        for (std::int64_t k = 0; k < length; ++k) values[run - i + k] = value;
      });
      with_values(noise, x + i, y + i, count, values, writing(i, count));
    }
  }

  // Narrow elements with a word each, from one on whose index is a multiple of 4: words stay in
  // registers.
  void vectors(std::int64_t begin, std::int64_t end, bool streaming) const {
    const Noise own = noise;  // its numbers in registers: y may lie anywhere
    std::int64_t i = begin;
    for (; i + words_at_once <= end; i += words_at_once) {
      prefetch(i, streaming);
      const std::uint64_t index = a.draw.first_index + static_cast<std::uint64_t>(i);
      philox_words(index, keys, [&](int offset, u64 words) NORMDROP_LAMBDA_INLINE {
        const f32 result = own(load_vector(x + i + offset), reinterpret_cast<u32>(words));
        if (streaming) {
          stream_vector(y + i + offset, result);
        } else {
          store_vector(y + i + offset, result);
        }
      });
    }
    pieces(i, end);
  }

  // Blocks begin at a whole Philox block, and where the output is streamed, on a cache line.
  void narrow_and_plain() const {
    const auto to_block = static_cast<std::int64_t>(-a.draw.first_index % 4);
    const Writing how = writing_of<T>(y, a.count, 0, a.count);
    const bool streaming = how.streaming && a.x != a.y && how.head % 4 == to_block;
    const std::int64_t shift = streaming ? how.head : to_block;
    for_each_block(a.count, shift, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t from = begin > 0 ? begin : (shift < end ? shift : end);
      pieces(begin, from);
      vectors(from, end, streaming);
    });
  }

  void all() const {
    if constexpr (is_narrow<T> && Noise::in_registers) {
      if (is_plain(a.shape)) return narrow_and_plain();
    }
    const bool is_short = a.shape.inner > 1 && a.shape.inner < short_run;
    for_each_block(a.count, 0, [&](std::int64_t begin, std::int64_t end) {
      is_short ? short_runs(begin, end) : pieces(begin, end);
    });
  }
};

template <class T>
void fill_with_zeros(const Dropout& a) {
  for_each_block(a.count, 0, [&](std::int64_t begin, std::int64_t end) {
    std::memset(static_cast<T*>(a.y) + begin, 0, sizeof(T) * static_cast<std::size_t>(end - begin));
  });
}

template <class T>
void run(const Dropout& a) {
  if (a.draw.threshold == 0) return fill_with_zeros<T>(a);
  switch (a.kind) {
    case DropoutKind::dropout:
      return Apply<T, Dropping<wide<T>>>{a}.all();
    case DropoutKind::alpha:
      return Apply<T, AlphaDropping<wide<T>>>{a}.all();
    case DropoutKind::uniform:
      return Apply<T, UniformNoise<wide<T>>>{a}.all();
    case DropoutKind::gaussian:
      return Apply<T, GaussianNoise<wide<T>>>{a}.all();
  }
}

// The words themselves.
struct Words {
  using Value = std::uint32_t;
  static constexpr bool takes_words = true;
};

}  // namespace

void dropout(const Dropout& a) {
  for_dtype(a.dtype, [&](auto element) { run<decltype(element)>(a); });
}

void dropout_keep(const DropoutKeep& a) {
  const PhiloxKeys keys = philox_keys(a.draw.seed, a.draw.call);
  const Words words;
  for_each_block(a.count, 0, [&](std::int64_t begin, std::int64_t end) {
    DrawnValues<Words> drawn(words, keys);
    for_each_segment(a.shape, a.draw.first_index, begin, end,
                     [&](std::int64_t i, std::int64_t count, std::uint64_t word) {
      for (std::int64_t done = 0, some; done < count; done += some) {
        some = count - done;
        const std::uint32_t* of = drawn.from(word + static_cast<std::uint64_t>(done), &some);
        for (std::int64_t k = 0; k < some; ++k) {
          a.keep[i + done + k] = of[k] < a.draw.threshold ? 1 : 0;
        }
      }
    }, [&](std::int64_t i, std::int64_t count, std::uint64_t word) {
      std::int64_t one = 1;
      std::memset(a.keep + i, *drawn.from(word, &one) < a.draw.threshold ? 1 : 0,
                  static_cast<std::size_t>(count));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
