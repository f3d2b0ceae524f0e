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
// square roots overlap: rows of 64 elements take 36 ns instead of 91, and rows of 1024 an eighth
// less where 8 of them (half of L1) come together than where 2 do.
inline constexpr std::int64_t short_rows_at_once = 8;
inline constexpr std::int64_t short_rows_elements = 8192;

// Rows of more chunks than this are shared out by chunks where they are fewer than sets_per_thread
// asks for; shorter ones are over before a second pass over the team would pay.
inline constexpr std::int64_t chunks_of_long_row = 16;

// Column reductions: rows per chunk so that a chunk of a column tile stays in L2, and columns
// per tile so that its accumulators stay in L1.
inline constexpr std::int64_t column_tile = 1024;
inline constexpr std::int64_t column_chunk_bytes = 131072;

// Sums over rows are cut into at most this many slots of at least this many elements, each a range
// of rows, merged in order: what bounds the parallelism, and keeps partial results below about a
// twentieth of the memory traffic.
inline constexpr std::int64_t row_slots = 64;
inline constexpr std::int64_t slot_elements = 24576;

// Sets of short runs (batch norm in NCHW): neighbouring channels are done together, up to so many elements of a
// row and of all rows. (32, 512, 7, 7) takes 19 ns for a run of 49 elements instead of 28.
inline constexpr std::int64_t together_elements = 1024;
inline constexpr std::int64_t together_in_cache = 65536;
inline constexpr std::int64_t most_channels_together = 16;

// Rows longer than this many bytes take the split path in layer norm's backward, where a row
// and its gradient no longer stay in L2 between the two passes.
inline constexpr std::int64_t long_row_bytes = 262144;

// Rows of more than a chunk take that path too where a slot would have fewer of them: (18, 24145) has
// 7 MB of partial sums beside 5 MB of everything else, and takes two thirds of the time.
inline constexpr std::int64_t fewest_rows_of_slot = 4;

// Else their slots have so many rows where so many slots are left: (282, 12242) takes 2.3 ms on one
// core with 16 rows a slot and 3.0 with 5.
inline constexpr std::int64_t rows_of_long_slot = 16;
inline constexpr std::int64_t slots_of_long_rows = 16;

// Rows of at most so many elements have the lanes of their sums added up four rows at a time: beyond
// it the elements take so long that the order of these few additions no longer shows.
inline constexpr std::int64_t together_row_elements = 256;

// There, columns that are written together: their sums of both parameter gradients, with errors
// 16 KiB, leave half of L1 to the rows.
inline constexpr std::int64_t long_row_tile = 512;

// Gradients of at least this many bytes are written past the caches: they would push out what is
// still to be read, and a plain store first reads the line it overwrites.
inline constexpr std::int64_t streamed_output_bytes = 12 << 20;

// Shorter runs than this are streamed only from a cache line's first element on: the lines that two
// of them share cost more than the others save.
inline constexpr std::int64_t cut_run_elements = 512;

// Fewer sets than this for each thread, and their chunks are the tasks: a team whose threads have 3
// and 4 sets waits an eighth of its time.
inline constexpr std::int64_t sets_per_thread = 4;

// Group norm: shorter lines have a weight for each element instead of one for the line, whose
// scalars take as long as a pack.
inline constexpr std::int64_t shortest_line = 16;

// Rows of fewer channels than this are seen as rows of at least so many elements, several in one.
// Written: a row of 64 elements takes 17 ns by itself. Summed: (8, 112, 112, 16) takes half the time,
// but sums of 512 columns push the rows out of L1.
inline constexpr std::int64_t narrow_channels_written = 256;
inline constexpr std::int64_t narrow_row_written = 512;
inline constexpr std::int64_t narrow_channels_summed = 33;
inline constexpr std::int64_t narrow_row_summed = 128;

// Channels whose scalars are one task, a few vectors of them.
inline constexpr std::int64_t channels_per_task = 64;

// A column's centre is sought in this many first rows, and in one row of so many: see
// docs/numerics.md for what that costs at most. Sums of so many rows are then added to the others.
inline constexpr std::int64_t centre_rows = 64;
inline constexpr std::int64_t rows_per_centre_row = 4096;
inline constexpr std::int64_t rows_added_apart = 64;

// A pass over rows of channels takes blocks of this many elements, so that a tile's lines are read
// from L1; 64 KiB of float32 leave room in L2 for what they are read from and written to.
inline constexpr std::int64_t row_block_elements = 16384;

// Runs, and rows of channels, whose gradients are looked at for their size: in half of the runs
// of a network's first layers they are all 0.
inline constexpr std::int64_t runs_looked_at = 16;
inline constexpr std::int64_t rows_looked_at = 64;

// Merging the moments of one slot takes as long as this many elements.
inline constexpr std::int64_t elements_per_merged_moment = 16;

}  // namespace normdrop::cpu::tuning
