// target = source, with plain or streaming stores: the copy bandwidth that every operation of the
// benchmark is compared with. Blocks of 64 KiB are tasks.
#include "ops/copy.h"

#include "cpu/kernels/kernels.h"
#include "cpu/parallel.h"
#include "cpu/simd/simd.h"

namespace normdrop::NORMDROP_ISA {
namespace {

constexpr std::int64_t block_bytes = 65536;

// `target` on a 64-byte boundary, `bytes` a multiple of 64.
NORMDROP_INLINE void stream(char* target, const char* source, std::int64_t bytes) {
#if defined(__AVX512F__)
  for (std::int64_t i = 0; i < bytes; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + i), _mm512_loadu_si512(source + i));
  }
  _mm_sfence();
#elif defined(__AVX2__)
  for (std::int64_t i = 0; i < bytes; i += 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i)));
  }
  _mm_sfence();
#else
  std::memcpy(target, source, static_cast<std::size_t>(bytes));
#endif
}

NORMDROP_INLINE void copy_plain(char* target, const char* source, std::int64_t bytes) {
  std::int64_t i = 0;
  for (; i + 128 <= bytes; i += 128) std::memcpy(target + i, source + i, 128);
  for (; i < bytes; ++i) target[i] = source[i];
}

}  // namespace

void copy(const Copy& a) {
  char* target_base = static_cast<char*>(a.target);
  const char* source_base = static_cast<const char*>(a.source);
  if (!a.streaming) {
    parallel_for((a.bytes + block_bytes - 1) / block_bytes, block_bytes / 4,
                 [&](std::int64_t block) {
      const std::int64_t begin = block * block_bytes;
      const std::int64_t left = a.bytes - begin;
      copy_plain(target_base + begin, source_base + begin, left < block_bytes ? left : block_bytes);
    });
    return;
  }
  // The lines in between are streamed, what is before the first and behind the last is not.
  const auto to_line = static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(a.target) % 64);
  const std::int64_t head = to_line < a.bytes ? to_line : a.bytes;
  const std::int64_t lines = (a.bytes - head) / 64 * 64;
  copy_plain(target_base, source_base, head);
  parallel_for((lines + block_bytes - 1) / block_bytes, block_bytes / 4, [&](std::int64_t block) {
    const std::int64_t begin = block * block_bytes;
    const std::int64_t bytes = lines - begin < block_bytes ? lines - begin : block_bytes;
    stream(target_base + head + begin, source_base + head + begin, bytes);
  });
  copy_plain(target_base + head + lines, source_base + head + lines, a.bytes - head - lines);
}

}  // namespace normdrop::NORMDROP_ISA
