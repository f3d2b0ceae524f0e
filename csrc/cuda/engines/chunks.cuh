// Sets of runs, cut into chunks that the registers of a block hold: a run is `length` neighbouring
// elements, a set has `runs` of them. A row of a layer norm is a set of one run; a channel of a
// batch norm has a run in every batch index. The shape alone decides where a chunk ends.
#pragma once

#include "cuda/engines/for_dtype.cuh"
#include "cuda/engines/pack_access.cuh"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {

using cuda_tuning::block_threads;

// Where something lies for (set, run, element) or (outer, row, column), in elements. Of sets,
// `together` neighbours may be `step` apart in each of what lies `first` apart: the groups of group
// norm in a batch index.
struct IndexMap {
  std::int64_t first = 0;
  std::int64_t second = 0;
  std::int64_t third = 0;
  std::int64_t together = 1;
  std::int64_t step = 0;

  __host__ __device__ std::int64_t at(std::int64_t i, std::int64_t j, std::int64_t k) const {
    return i * first + j * second + k * third;
  }
  // Divides: once for a thread.
  __host__ __device__ std::int64_t of_set(std::int64_t set) const {
    return together == 1 ? set * first : set / together * first + set % together * step;
  }
};

// Whether packs of a unit lie aligned in an array of runs or rows that lie where a map says.
template <class T>
bool packs_lie_aligned(const void* pointer, const IndexMap& map, int unit) {
  return packs_lie_aligned<T>(pointer, map.first, unit) &&
         packs_lie_aligned<T>(pointer, map.second, unit) &&
         packs_lie_aligned<T>(pointer, map.step, unit);
}

// Elements of a set in chunks: some whole runs, or a part of one.
struct RunPlan {
  std::int64_t sets;
  std::int64_t runs;
  std::int64_t length;
  std::int64_t runs_per_chunk;
  std::int64_t length_per_chunk;
  std::int64_t chunks_per_run;  // above 1 only where a chunk is part of one run
  std::int64_t chunks;          // of a set
};

template <class T>
inline constexpr int chunk_elements = block_threads * cuda_tuning::chunk_bytes_per_thread /
                                      static_cast<int>(sizeof(T) < 4 ? 4 : sizeof(T));

template <class T>
inline constexpr std::int64_t chunk_bytes = chunk_elements<T> * static_cast<int>(sizeof(T));

template <class T>
RunPlan plan_runs(std::int64_t sets, std::int64_t runs, std::int64_t length) {
  constexpr std::int64_t chunk = chunk_elements<T>;
  if (length > chunk) {
    const std::int64_t per_run = divided_up(length, chunk);
    return {sets, runs, length, 1, chunk, per_run, runs * per_run};
  }
  const std::int64_t together = chunk / (length > 0 ? length : 1);
  return {sets, runs, length, together, length, 1, divided_up(runs, together)};
}

// A chunk, by default that of this block.
struct Chunk {
  std::int64_t set;
  std::int64_t slot;
  std::int64_t first_run;
  std::int64_t begin;  // in the run
  int length;          // of a run, or the part of one
  int elements;
  std::uint32_t inverse;  // of the length: ceil(2^32 / length)

  __device__ explicit Chunk(const RunPlan& plan)
      : Chunk(plan, blockIdx.x / plan.chunks, blockIdx.x % plan.chunks) {}

  __device__ Chunk(const RunPlan& plan, std::int64_t of_set, std::int64_t chunk_of_set)
      : set(of_set), slot(chunk_of_set) {
    first_run = slot / plan.chunks_per_run * plan.runs_per_chunk;
    begin = slot % plan.chunks_per_run * plan.length_per_chunk;
    const std::int64_t runs_left = plan.runs - first_run;
    const std::int64_t length_left = plan.length - begin;
    length =
        static_cast<int>(length_left < plan.length_per_chunk ? length_left : plan.length_per_chunk);
    const std::int64_t count = runs_left < plan.runs_per_chunk ? runs_left : plan.runs_per_chunk;
    elements = static_cast<int>(count) * length;
    inverse = length > 1 ? 0xffffffffu / static_cast<unsigned>(length) + 1u : 0u;
  }

  // The same, of which the compiler knows nothing: where elements lie is worked out again for
  // another pass, which costs less than the registers that would keep it.
  __device__ __forceinline__ Chunk afresh() const {
    Chunk same = *this;
    forget(same.inverse);
    return same;
  }

  // Which of the chunk's runs an element is in: i / length, exact for 16 bits of either.
  __device__ int run_of(int i) const {
    const std::uint64_t product = static_cast<std::uint64_t>(static_cast<unsigned>(i)) * inverse;
    return length > 1 ? static_cast<int>(product >> 32) : i;
  }

  __device__ std::int64_t at(const IndexMap& map, int i) const {
    const int run = run_of(i);
    return map.at(set, first_run, begin) + run * map.second + (i - run * length) * map.third;
  }
  // Of an array, whose elements are neighbours: where the chunk begins, and how far from there.
  __device__ std::int64_t first(const IndexMap& map) const {
    return map.of_set(set) + first_run * map.second + begin;
  }
  __device__ std::int64_t beyond_first(const IndexMap& map, int i) const {
    const int run = run_of(i);
    return run * map.second + (i - run * length);
  }

  // Of a pack that begins with element i.
  template <int unit>
  __device__ PackPlace place(int i) const {
    if constexpr (unit == 1) return {0, i < elements ? 1 : 0, false, false};
    if (i >= elements) return {0, 0, false, false};
    const int in_run = i - run_of(i) * length;
    const int lane = lane_in_warp();
    return {in_run, length - in_run, lane > 0 && in_run > 0,
            lane < warp_threads - 1 && in_run + unit < length};
  }
};
static_assert(chunk_elements<float> <= 1 << 16);

// Calls body with the number of elements of a pack and whether packs lie on their boundaries,
// whole. Runs that are no multiple of a vector go in single elements, those of more than a chunk in
// vectors of which the last may be a part.
template <class T, class LieAligned, class Body>
void for_run_packs(std::int64_t length, LieAligned&& lie_aligned, Body&& body) {
  if (length % vector_elements<T> != 0 && length > chunk_elements<T>) {
    return body(Number<vector_elements<T>>{}, Number<false>{});
  }
  for_packs<vector_elements<T>>(length, lie_aligned, body);
}

// A thread's elements of a chunk: packs `block_threads` packs apart, which do not cross from one
// run to the next.
template <class T, int unit_elements, bool aligned>
struct ChunkElements {
  static constexpr int unit = unit_elements;
  static constexpr int packs = chunk_elements<T> / block_threads / unit;
  static constexpr bool whole_packs = unit == 1 || aligned;
  Pack<T, unit> pack[packs];
  int elements;  // of the chunk

  __device__ __forceinline__ static int index(int k) {
    return (static_cast<int>(threadIdx.x) + k * block_threads) * unit;
  }
  __device__ __forceinline__ bool holds(int k, int j) const {
    return index(k) + (whole_packs ? 0 : j) < elements;
  }
  // Whether no lane of the warp has an element of the pack.
  __device__ __forceinline__ static bool empty(int k, const Chunk& chunk) {
    return index(k) - lane_in_warp() * unit >= chunk.elements;
  }

  __device__ __forceinline__ explicit ChunkElements(const Chunk& chunk)
      : elements(chunk.elements) {}
  __device__ __forceinline__ int count() const { return elements; }

  __device__ __forceinline__ void load(const T* x, const IndexMap& map, const Chunk& chunk) {
    const T* from = x + chunk.first(map);
    load_packs<aligned, warp_threads, false>(pack, [&](int k) {
      return from + chunk.beyond_first(map, index(k));
    }, [&](int k) { return chunk.place<unit>(index(k)); });
  }

  // `to` is where the chunk begins.
  __device__ __forceinline__ void write(T* to, const IndexMap& map, const Chunk& chunk,
                                        int k) const {
    store_pack<T, unit, aligned>(to + chunk.beyond_first(map, index(k)), pack[k],
                                 chunk.place<unit>(index(k)));
  }
};

}  // namespace normdrop::NORMDROP_DEVICE
