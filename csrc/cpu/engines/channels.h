// Sets of runs (a channel of NCHW, a long row, a group of channels): the statistics of each, then
// its output while it is in cache. Sets are tasks; where they are few, chunks of all of them are.
//
// An operation, taken by value, supplies
//   sets, runs, length        how many sets, and the shape of each
//   elements(set)             where its elements are
//   statistic                 see mean_and_variance.h
//   report(set, normaliser)   what is kept of the statistics
//   write(set, part, normaliser)
#pragma once

#include "cpu/arithmetic/mean_and_variance.h"
#include "cpu/engines/channel_lines.h"
#include "cpu/engines/parameters.h"

namespace normdrop::NORMDROP_ISA {

// The part of a set that a chunk of its plan covers: `elements`, which begin in run `run` at element
// `begin` of it.
template <class T>
struct Part {
  Runs<T> elements;
  std::int64_t run;
  std::int64_t begin;
};

template <class T>
NORMDROP_INLINE Part<T> part_of(const Runs<T>& all, const ChunkPlan& plan, std::int64_t chunk) {
  return {chunk_of(all, plan, chunk), chunk / plan.chunks_per_run * plan.runs_per_chunk,
          chunk % plan.chunks_per_run * plan.length_per_chunk};
}

// Whether sets alone would leave threads idle.
NORMDROP_INLINE bool few_sets(std::int64_t sets) {
  return sets < cpu::thread_count() * cpu::tuning::sets_per_thread;
}

template <class T, class Statistic>
NORMDROP_OUT_OF_LINE Normaliser normaliser_of_set(const Runs<T>& all, const ChunkPlan& plan,
                                                  const Statistic& statistic) {
  if (plan.chunks == 1) return statistic.finish(statistic.part(all), all);
  Scratch<typename Statistic::Part> parts(plan.chunks);
  for (std::int64_t c = 0; c < plan.chunks; ++c) {
    parts[c] = statistic.part(chunk_of(all, plan, c));
  }
  return statistic.finish(statistic.merge(parts.data(), plan.chunks), all);
}

// The normalisers of sets from `first` on, from their parts, one set's behind the other's.
template <class Operation, class PartialStatistic>
void finish_sets(const Operation& operation, const PartialStatistic* parts, std::int64_t chunks,
                 std::int64_t first, std::int64_t sets, Normaliser* normalisers) {
  const auto statistic = operation.statistic;
  for (std::int64_t k = 0; k < sets; ++k) {
    const PartialStatistic* of_set = parts + k * chunks;
    const PartialStatistic all = chunks == 1 ? *of_set : statistic.merge(of_set, chunks);
    normalisers[k] = statistic.finish(all, operation.elements(first + k));
    operation.report(first + k, normalisers[k]);
  }
}

// Sets of short runs that are done together: about a page of each run, while all of them stay in L2
// between the two passes.
NORMDROP_INLINE std::int64_t sets_together(std::int64_t runs, std::int64_t length) {
  using namespace cpu::tuning;
  const std::int64_t by_run = together_elements / length;
  const std::int64_t by_cache = together_in_cache / (runs * length);
  const std::int64_t fitting = by_run < by_cache ? by_run : by_cache;
  return fitting < 1 ? 1 : (fitting < most_channels_together ? fitting : most_channels_together);
}

// Sets [first, end), a chunk of each at a time: their runs are mostly neighbours, which share pages, and
// the second one is on its way while the first is read. The tree is that of normaliser_of_set.
template <class T, class Operation>
void forward_sets_together(const Operation& operation, const ChunkPlan& plan, std::int64_t first,
                           std::int64_t end) {
  const auto statistic = operation.statistic;
  using PartialStatistic = typename decltype(operation.statistic)::Part;
  const std::int64_t sets = end - first;
  Scratch<PartialStatistic> parts(sets * plan.chunks);
  Scratch<Normaliser> normalisers(sets);
  for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    for (std::int64_t k = 0; k < sets; ++k) {
      parts[k * plan.chunks + chunk] =
          statistic.part(chunk_of(operation.elements(first + k), plan, chunk));
    }
  }
  finish_sets(operation, parts.data(), plan.chunks, first, sets, normalisers.data());
  for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    for (std::int64_t k = 0; k < sets; ++k) {
      const std::int64_t set = first + k;
      operation.write(set, part_of(operation.elements(set), plan, chunk), normalisers[k]);
    }
  }
}

template <class T, class Operation>
void forward_whole_sets(const Operation operation) {
  const ChunkPlan plan = plan_chunks<T>(operation.runs, operation.length);
  const std::int64_t set_elements = operation.runs * operation.length;
  const std::int64_t together = operation.runs > 1 && operation.length > 0
                                    ? sets_together(operation.runs, operation.length)
                                    : 1;
  if (together > 1) {
    const std::int64_t sets = operation.sets;
    return parallel_for((sets + together - 1) / together, set_elements * together,
                        [&](std::int64_t block) {
      const std::int64_t first = block * together;
      const std::int64_t end = sets - first < together ? sets : first + together;
      forward_sets_together<T>(operation, plan, first, end);
    });
  }
  parallel_for(operation.sets, set_elements, [&](std::int64_t set) {
    const Runs<T> all = operation.elements(set);
    const Normaliser n = normaliser_of_set(all, plan, operation.statistic);
    operation.report(set, n);
    for (std::int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      operation.write(set, part_of(all, plan, chunk), n);
    }
  });
}

// The normalisers of all sets, with chunks as tasks. The tree is that of normaliser_of_set.
template <class T, class Operation>
void normalisers_by_chunks(const Operation operation, Normaliser* normalisers) {
  const ChunkPlan plan = plan_chunks<T>(operation.runs, operation.length);
  const auto statistic = operation.statistic;
  Scratch<typename decltype(statistic)::Part> parts(operation.sets * plan.chunks);
  parallel_for(operation.sets * plan.chunks, plan.runs_per_chunk * plan.length_per_chunk,
               [&](std::int64_t task) {
    const Runs<T> all = operation.elements(task / plan.chunks);
    parts[task] = statistic.part(chunk_of(all, plan, task % plan.chunks));
  });
  finish_sets(operation, parts.data(), plan.chunks, 0, operation.sets, normalisers);
}

template <class T, class Operation>
void forward_chunks_of_sets(const Operation operation) {
  const ChunkPlan plan = plan_chunks<T>(operation.runs, operation.length);
  Scratch<Normaliser> normalisers(operation.sets);
  normalisers_by_chunks<T>(operation, normalisers.data());
  parallel_for(operation.sets * plan.chunks, plan.runs_per_chunk * plan.length_per_chunk,
               [&](std::int64_t task) {
    const std::int64_t set = task / plan.chunks;
    operation.write(set, part_of(operation.elements(set), plan, task % plan.chunks),
                    normalisers[set]);
  });
}

template <class T, class Operation>
void forward_sets(const Operation operation) {
  few_sets(operation.sets) ? forward_chunks_of_sets<T>(operation)
                           : forward_whole_sets<T>(operation);
}

// Only the statistics: an operation without write().
template <class T, class Operation>
void report_sets(const Operation operation) {
  if (few_sets(operation.sets)) {
    Scratch<Normaliser> normalisers(operation.sets);
    return normalisers_by_chunks<T>(operation, normalisers.data());
  }
  const ChunkPlan plan = plan_chunks<T>(operation.runs, operation.length);
  parallel_for(operation.sets, operation.runs * operation.length, [&](std::int64_t set) {
    operation.report(set, normaliser_of_set(operation.elements(set), plan, operation.statistic));
  });
}

// How sets are written whose runs are made of lines: `line` neighbouring elements with a weight and a
// bias in common (batch norm: a run is one line; group norm: one for each channel).
template <class T>
struct LineOutput {
  T* y;                 // where the set's first element is written
  std::int64_t stride;  // between runs
  std::int64_t line;
  const wide<T>* weight;  // of the set's lines, or null
  const wide<T>* bias;    // of the set's lines, or null
  Writing how;

  // Of another set, so many elements and lines further on.
  LineOutput at(std::int64_t elements, std::int64_t lines) const {
    return {y + elements,
            stride,
            line,
            weight ? weight + lines : nullptr,
            bias ? bias + lines : nullptr,
            how};
  }
};

// Lines that all begin at the same place of a cache line may be streamed; `all` elements are written.
template <class T>
NORMDROP_INLINE Writing writing_of_lines(const T* y, std::int64_t line, std::int64_t stride,
                                         std::int64_t all) {
  if (line % pack_size != 0) return {};
  return writing_of<T>(y, line, stride, all);
}

template <bool training, class T>
NORMDROP_OUT_OF_LINE void write_lines(const Part<T>& part, const Normaliser& n,
                                      const LineOutput<T>& output) {
  const Runs<T> in = part.elements;
  const LineOutput<T> out = output;
  const std::int64_t part_end = part.begin + in.length;
  for (std::int64_t line = part.begin / out.line; line * out.line < part_end; ++line) {
    const std::int64_t line_begin = line * out.line;
    const std::int64_t begin = line_begin < part.begin ? part.begin : line_begin;
    const std::int64_t end = part_end < line_begin + out.line ? part_end : line_begin + out.line;
    const T* x = in.x + (begin - part.begin);
    T* y = out.y + part.run * out.stride + begin;
    const ChannelPass<T, training> pass(n, parameter<T>(out.weight, line, 1.0),
                                        parameter<T>(out.bias, line, 0.0), out.how);
    pass.write(Runs<T>{x, in.runs, end - begin, in.stride}, y, out.stride);
  }
}

}  // namespace normdrop::NORMDROP_ISA
