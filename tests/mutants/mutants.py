"""Errors put into csrc/cuda one at a time, and the driver's groups that must notice."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str  # below csrc/cuda
    old: str  # stands there exactly once
    new: str
    groups: str  # part of the names of the driver's groups
    why: str


MUTANTS = [
    # Barriers.
    Mutant(
        "reduce_without_barrier",
        "block_reduce.cuh",
        "    __syncthreads();\n    value = slots[0];",
        "    value = slots[0];",
        "layer_norm_forward/rows/float32/",
        "warps read each other's slots before they are written",
    ),
    Mutant(
        "block_rows_without_barrier",
        "columns.cuh",
        "    shared[threadIdx.x] = value[j];\n    __syncthreads();\n",
        "    shared[threadIdx.x] = value[j];\n",
        "batch_norm_forward/columns/float32/",
        "the first warp reads rows that are not written yet",
    ),
    Mutant(
        "block_rows_reuse_without_barrier",
        "columns.cuh",
        "    if (j > 0) __syncthreads();\n",
        "",
        "batch_norm_forward/columns/float32/",
        "the next column of a pack overwrites what the first warp still reads",
    ),
    Mutant(
        "row_slots_in_one_place",
        "layer_norm_backward_rows.cuh",
        "    turn = 1 - turn;\n",
        "    turn = 0;\n",
        "layer_norm_backward/slots/float32/",
        "the next row overwrites the sums that other warps still read",
    ),
    Mutant(
        "forward_cluster_leaves_early",
        "layer_norm_rows.cuh",
        "  cluster_sync();  // no block may end while another still reads its part\n",
        "",
        "layer_norm_forward/clusters/float32/",
        "a block ends while others read its shared memory",
    ),
    Mutant(
        "channel_cluster_leaves_early",
        "channels_on_chip.cuh",
        "    store_pack<T, unit>(a.arrays.y + chunk.at(a.y_map, elements.index(k)), "
        "elements.pack[k],\n                        a.aligned);\n  }\n"
        "  if (a.plan.chunks > 1) cluster_sync();",
        "    store_pack<T, unit>(a.arrays.y + chunk.at(a.y_map, elements.index(k)), "
        "elements.pack[k],\n                        a.aligned);\n  }\n"
        "  if (a.plan.chunks > 16) cluster_sync();",
        "batch_norm_forward/runs/float32/",
        "a block ends while others read its shared memory",
    ),
    Mutant(
        "backward_cluster_leaves_early",
        "layer_norm_backward_rows.cuh",
        "  if (a.parts > 1) cluster_sync();  "
        "// no block may end while another still reads its part\n",
        "",
        "layer_norm_backward/clusters/float32/",
        "a block ends while others read its shared memory",
    ),
    Mutant(
        "cluster_reads_unwritten_parts",
        "clusters.cuh",
        "  cluster_sync();\n  const auto lane",
        "  const auto lane",
        "layer_norm_forward/clusters/float32/",
        "blocks read each other's part before it is written",
    ),
    Mutant(
        "parameters_reuse_without_barrier",
        "layer_norm_backward_rows.cuh",
        "          if (k + j > 0) __syncthreads();\n",
        "",
        "layer_norm_backward/rows/float32/",
        "the next column overwrites the sums that the first group still reads",
    ),
    # Indices.
    Mutant(
        "row_load_shifted",
        "layer_norm_rows.cuh",
        "load_pack<T, unit, true>(x + column(k), aligned)",
        "load_pack<T, unit, true>(x + column(k) + 1, aligned)",
        "layer_norm_forward/rows/float32/",
        "elements are those of the next column",
    ),
    Mutant(
        "row_store_shifted",
        "layer_norm_rows.cuh",
        "store_pack<T, unit>(y + column(k), pack[k], a.aligned);",
        "store_pack<T, unit>(y + column(k) + 1, pack[k], a.aligned);",
        "layer_norm_forward/rows/float32/",
        "results go to the next column",
    ),
    Mutant(
        "row_tail_too_long",
        "layer_norm_rows.cuh",
        "valid[k] = column(k) < length;",
        "valid[k] = column(k) <= length;",
        "layer_norm_forward/rows/float32/",
        "a pack behind the row counts",
    ),
    Mutant(
        "chunk_tail_too_long",
        "runs.cuh",
        "valid[k] = index(k) < chunk.elements;",
        "valid[k] = index(k) <= chunk.elements;",
        "batch_norm_forward/runs/float32/",
        "a pack behind the chunk counts",
    ),
    Mutant(
        "backward_tail_too_long",
        "layer_norm_backward_rows.cuh",
        "valid_[k] = column(k) < a.length;",
        "valid_[k] = column(k) <= a.length;",
        "layer_norm_backward/rows/float32/",
        "a pack behind the row counts and is written",
    ),
    Mutant(
        "chunk_begins_at_wrong_run",
        "runs.cuh",
        "first_run = slot / plan.chunks_per_run * plan.runs_per_chunk;",
        "first_run = slot / plan.chunks_per_run;",
        "batch_norm_forward/runs/float32/",
        "chunks of several runs overlap",
    ),
    Mutant(
        "chunk_begins_too_early",
        "runs.cuh",
        "begin = slot % plan.chunks_per_run * plan.length_per_chunk;",
        "begin = slot % plan.chunks_per_run * (plan.length_per_chunk - 1);",
        "batch_norm_forward/runs/float32/",
        "chunks of one run overlap",
    ),
    Mutant(
        "last_row_of_slot_lost",
        "columns.cuh",
        "? plan.rows : begin + plan.rows_per_slot;",
        "? plan.rows : begin + plan.rows_per_slot - 1;",
        "batch_norm_forward/columns/float32/",
        "every slot but the last lacks a row",
    ),
    Mutant(
        "row_offset_in_32_bits",
        "layer_norm_rows.cuh",
        "RowElements<T, unit, threads> elements(a.x + row * a.x_stride,",
        "RowElements<T, unit, threads> elements(a.x + static_cast<int>(row * a.x_stride),",
        "layer_norm_forward/far/float32/",
        "rows beyond 2^31 elements are elsewhere",
    ),
    Mutant(
        "column_offset_in_32_bits",
        "runs.cuh",
        "    return i * first + j * second + k * third;",
        "    return i * first + static_cast<int>(j * second) + k * third;",
        "batch_norm_backward/far/float32/",
        "batch indices beyond 2^31 elements are elsewhere",
    ),
    # Reductions.
    Mutant(
        "first_slot_of_column_skipped",
        "merge.cuh",
        "std::int64_t slot = warp_in_block();",
        "std::int64_t slot = warp_in_block() + 1;",
        "batch_norm_forward/columns/float32/",
        "the first slot does not count",
    ),
    Mutant(
        "last_slot_of_run_skipped",
        "merge.cuh",
        "slot < layout.slots; slot += warp_threads",
        "slot < layout.slots - 1; slot += warp_threads",
        "batch_norm_forward/runs/float32/",
        "the last slot does not count",
    ),
    Mutant(
        "mask_of_all_lanes",
        "block_reduce.cuh",
        "    return ((1u << width) - 1u) << (lane_in_warp() / width * width);",
        "    return 0xffffffffu;",
        "layer_norm_forward/rows/float32/",
        "a group of lanes waits for others, which may have returned",
    ),
    Mutant(
        "second_group_of_parameters_lost",
        "layer_norm_backward_rows.cuh",
        "for (int g = 1; threadIdx.x < threads && g < groups; ++g) {",
        "for (int g = 2; threadIdx.x < threads && g < groups; ++g) {",
        "layer_norm_backward/rows/float32/",
        "rows of a block do not reach the parameters' gradients",
    ),
    # Arithmetic and arguments.
    Mutant(
        "weight_and_bias_swapped",
        "kernels/layer_norm.cu",
        "                                parameter_of<T>(a.weight, a.parameter_dtype),\n"
        "                                parameter_of<T>(a.bias, a.parameter_dtype),\n",
        "                                parameter_of<T>(a.bias, a.parameter_dtype),\n"
        "                                parameter_of<T>(a.weight, a.parameter_dtype),\n",
        "layer_norm_forward/rows/float32/",
        "each is taken for the other",
    ),
    Mutant(
        "eps_outside_the_root",
        "moments.cuh",
        "    n.inv_std = inverse_sqrt({sum.high, sum.low + var.low});",
        "    n.inv_std = {1.0 / (sqrt(var.high) + scaled_eps), sum.low * 0.0};",
        "layer_norm_forward/rows/float32/",
        "1 / (std + eps)",
    ),
    Mutant(
        "infinite_mean_is_nan",
        "moments.cuh",
        "    n.mean = {m.sum.high / m.count, 0.0};",
        "    n.mean = {nan, 0.0};",
        "batch_norm_forward/edges/float32/",
        "the mean of an infinity is reported as NaN",
    ),
    Mutant(
        "weight_not_in_the_gradient",
        "merge.cuh",
        "          inv_std * weight};",
        "          inv_std};",
        "batch_norm_backward/runs/float32/",
        "grad_x of a channel lacks the weight",
    ),
    Mutant(
        "variance_not_corrected",
        "kernels/running_stats.cu",
        "a.var[channel] * a.var_factor",
        "a.var[channel]",
        "update_running_stats/",
        "the running variance is biased",
    ),
    # Memory.
    Mutant(
        "alignment_ignored_by_loads",
        "vector_access.cuh",
        "  if (elements > 1 && aligned) {\n    using Whole",
        "  if (elements > 1) {\n    using Whole",
        "layer_norm_forward/rows/float32/",
        "a vector is read from an address that is none of a vector",
    ),
    Mutant(
        "workspace_lacks_a_slot",
        "kernels/norm_forward.cu",
        "scratch<Moments, Normaliser>(a.stream, blocks, plan.groups);",
        "scratch<Moments, Normaliser>(a.stream, blocks - 1, plan.groups);",
        "batch_norm_forward/runs/float32/",
        "the last slot lies where the normalisers begin",
    ),
    Mutant(
        "workspace_lacks_a_normaliser",
        "kernels/norm_forward.cu",
        "scratch<Moments, Normaliser>(a.stream, blocks, plan.groups);",
        "scratch<Moments, Normaliser>(a.stream, blocks, plan.groups - 1);",
        "batch_norm_forward/runs/float32/",
        "the last normaliser lies behind the workspace",
    ),
    Mutant(
        "copy_tail_as_vector",
        "kernels/copy.cu",
        "if (at + 16 <= bytes && aligned)",
        "if (at + 15 <= bytes && aligned)",
        "copy/sizes/",
        "a vector is written over the end",
    ),
    Mutant(
        "strided_copy_lacks_an_axis",
        "kernels/strided_copy.cu",
        "for (int d = a.rank - 1; d >= 0; --d) {",
        "for (int d = a.rank - 1; d > 0; --d) {",
        "strided_copy/",
        "the first axis has no stride",
    ),
    # Dropout.
    Mutant(
        "word_used_four_times",
        "kernels/dropout.cu",
        "element = result(element, words.word[word]);",
        "element = result(element, words.word[0]);",
        "dropout/counts/float32/",
        "four elements share one draw",
    ),
    Mutant(
        "words_by_thread",
        "kernels/dropout.cu",
        "(first_index + static_cast<std::uint64_t>(begin)) / words_per_block;",
        "first_index / words_per_block + threadIdx.x * (group_elements<T> / words_per_block);",
        "dropout/counts/float32/",
        "the mask repeats from block to block of threads",
    ),
    Mutant(
        "half_of_the_seed",
        "kernels/dropout.cu",
        "                         static_cast<std::uint32_t>(seed >> 32));",
        "                         0u);",
        "dropout/counts/float32/",
        "seeds that differ above 32 bits give one mask",
    ),
    Mutant(
        "half_of_the_call",
        "kernels/dropout.cu",
        "static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(call >> 32)}};",
        "static_cast<std::uint32_t>(call), 0u}};",
        "dropout/counts/float32/",
        "calls that differ above 32 bits give one mask",
    ),
    Mutant(
        "half_of_the_counter",
        "kernels/dropout.cu",
        "static_cast<std::uint32_t>(block >> 32),",
        "0u,",
        "dropout/counts/float32/",
        "the mask repeats after 2^34 elements",
    ),
    Mutant(
        "draw_of_the_device_ignored",
        "kernels/dropout.cu",
        "seed(device_draw != nullptr ? device_draw[0] : draw.seed)",
        "seed(draw.seed)",
        "dropout/counts/float32/",
        "a replayed graph draws the same mask again",
    ),
    Mutant(
        "keep_writes_one_more",
        "kernels/dropout.cu",
        "  if (i >= a.count) return;\n  const std::uint64_t index",
        "  if (i > a.count) return;\n  const std::uint64_t index",
        "dropout_keep/counts/",
        "a byte behind the mask is written",
    ),
]
