// Every threshold of the CUDA kernels. Those marked "bits" shape a reduction tree: they are part of
// the results' last digits and depend on shape and dtype alone, never on the card. The others come
// from counts of registers and instructions; none has been measured on a card.
#pragma once

#include <cstdint>

namespace normdrop::cuda_tuning {

// Threads of a block in reductions and element-wise passes. Bits.
inline constexpr int block_threads = 256;

// Bytes of a chunk that a thread keeps in registers between two passes over it: 128 leave room for
// two more blocks beside it on a multiprocessor of 64 K registers. Bits.
inline constexpr int chunk_bytes_per_thread = 128;

// Column reductions: a block is 32 lanes by this many rows, each thread keeps so many rows of its
// columns between two passes. Bits.
inline constexpr int column_block_rows = 8;
inline constexpr int column_rows_in_registers = 16;

// Column reductions are cut into slots of rows of at least this many rows and at most so many
// slots, which keeps partial results below about a twentieth of the traffic. Bits.
inline constexpr std::int64_t column_rows_per_slot = 256;
inline constexpr std::int64_t column_slots = 256;

// Layer norm of short rows: several of them share a block of this many threads.
inline constexpr int short_row_block = 128;

// Layer norm of rows: threads that a multiprocessor shall hold at once. 768 leave each 80
// registers, which 32 elements of float32 and two passes over them need without spilling; doubles,
// and rows that do not lie in whole vectors, need more.
inline constexpr int row_threads_resident = 768;
inline constexpr int wide_row_threads_resident = 512;

// Batch norm of channels on chip: threads that a multiprocessor shall hold at once, forward and
// backward, whose chunks of two arrays take twice the registers.
inline constexpr int chunk_threads_resident = 512;
inline constexpr int gradient_threads_resident = 512;

// Blocks of a cluster of one chunk each, and of several, most of them in shared memory; cards
// without clusters have one block instead. With several chunks a block, as many blocks shall share
// a multiprocessor, so that one reads while the other writes: what bounds their shared memory.
inline constexpr int largest_cluster = 16;
inline constexpr int cluster_of_several_chunks = 8;
inline constexpr int several_blocks_resident = 2;
inline constexpr int shared_bytes_beside_chunks =
    2048;  // fixed arrays, and what a card keeps of each

// Layer norm backward of rows: columns of float32 and narrower that a thread sums over rows in
// registers (two doubles each), and the largest block. Bits.
inline constexpr int backward_columns_per_thread = 8;
inline constexpr int backward_block = 512;

// Its threads that a multiprocessor shall hold at once.
inline constexpr int backward_threads_resident = 512;

// Its slots of rows: one for every so many rows, which keeps partial results below a twentieth of
// the traffic, but enough of them for a card while there are rows, and no more than two for each of
// an H200's 132 multiprocessors (many blocks of few threads each: more). Bits.
inline constexpr std::int64_t backward_rows_per_slot = 56;
inline constexpr std::int64_t backward_fewest_slots = 132;
inline constexpr std::int64_t backward_most_threads = 264 * 512;

// Rows and packs that a thread of a pass over columns or runs reads before it uses the first: what
// keeps the memory busy.
inline constexpr int column_rows_at_once = 4;
inline constexpr int packs_at_once = 4;

// Packs that a thread asks for before it uses the first where they lie on no boundaries, each in
// two words; and single elements.
inline constexpr int shifted_packs_asked_together = 4;
inline constexpr int elements_asked_together = 8;

// Threads of column reductions and passes that a multiprocessor shall hold at once: two blocks, so
// that one reads while the other computes.
inline constexpr int column_threads_resident = 512;

// Rows that a thread of a column pass writes, so that loading its columns' normalisers pays.
inline constexpr std::int64_t column_pass_rows = 32;

// Packs that a thread of an element-wise pass handles.
inline constexpr int packs_per_thread = 4;

// Blocks of dropout's family that a multiprocessor shall hold at once: 64 registers a thread.
inline constexpr int noise_blocks_resident = 4;

// Largest grid in x.
inline constexpr std::int64_t largest_grid = 2147483647;

}  // namespace normdrop::cuda_tuning
