// Every threshold of the CPU kernels, with how it was found. Sizes that shape a reduction tree
// are part of the results' bits: changing one changes last digits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace normdrop::cpu::tuning {

// Below this many elements a call stays on the calling thread. Waking an OpenMP team costs
// 2 to 5 us; a norm handles about 1 element per ns and core.
inline constexpr std::int64_t serial_elements = 16384;

// A channel's scalars (divisions, a square root) take as long as this many elements.
inline constexpr std::int64_t elements_per_channel = 64;

// Blocks of tasks per thread: more even out a busy core, fewer cost less.
inline constexpr std::int64_t blocks_per_thread = 16;

// The team of threads. A helper that is awake begins within 0.2 us; one that sleeps within 10 to
// 80 us (the most in virtual machines), of which the caller pays a part. libgomp's stay awake for
// 3 to 4 ms.
inline constexpr std::int64_t awake_between_calls_us = 4000;

// For fewer elements, about 40 us of one thread's, nobody is woken unless such calls come one after
// another: a lone layer norm of (512, 64) takes 57 us instead of 76 where the processor sleeps too.
inline constexpr std::int64_t worth_waking_elements = 262144;

// A thread that looks at the clock all the time and sees it jump by so much was not running:
// another program has its processor, for 3 to 8 ms as Linux shares. Interrupts take less.
inline constexpr std::int64_t interruption_us = 200;

// A helper that was interrupted sleeps between calls for so long, and is woken for large ones only.
// Then it tries to stay awake again, which delays about one call in a thousand.
inline constexpr std::int64_t rest_us = 100000;

// A kernel needs some 100 KiB; what systems give a thread begins at 512 (macOS).
inline constexpr std::size_t thread_stack_bytes = std::size_t{4} << 20;

// A run is reduced in chunks of this many bytes, so that a second pass finds them in L1.
inline constexpr std::int64_t chunk_bytes = 16384;

// float32 layer norm: rows whose scalars are worked out together, so that their divisions and
// square roots overlap: rows of 64 elements take 36 ns instead of 91.
inline constexpr std::int64_t short_rows_at_once = 8;
inline constexpr std::int64_t short_rows_elements = 2048;

// Column reductions: rows per chunk so that a chunk of a column tile stays in L2, and columns
// per tile so that its accumulators stay in L1.
inline constexpr std::int64_t column_tile = 1024;
inline constexpr std::int64_t column_chunk_bytes = 131072;

// Sums over rows are cut into at most this many slots of at least this many elements, each a range
// of rows, merged in order: what bounds the parallelism, and keeps partial results below about a
// twentieth of the memory traffic.
inline constexpr std::int64_t row_slots = 64;
inline constexpr std::int64_t slot_elements = 24576;

// Batch norm backward in NCHW: neighbouring channels are done together, up to so many elements of a
// row and of all rows. (32, 512, 7, 7) takes 19 ns for a run of 49 elements instead of 28.
inline constexpr std::int64_t together_elements = 1024;
inline constexpr std::int64_t together_in_cache = 65536;
inline constexpr std::int64_t most_channels_together = 16;

// Rows longer than this many bytes take the split path in layer norm's backward, where a row
// and its gradient no longer stay in L2 between the two passes.
inline constexpr std::int64_t long_row_bytes = 262144;

// Gradients of at least this many bytes are written past the caches: they would push out what is
// still to be read, and a plain store first reads the line it overwrites.
inline constexpr std::int64_t streamed_output_bytes = 12 << 20;

// Shorter runs than this are streamed only from a cache line's first element on: the lines that two
// of them share cost more than the others save.
inline constexpr std::int64_t cut_run_elements = 512;

}  // namespace normdrop::cpu::tuning
