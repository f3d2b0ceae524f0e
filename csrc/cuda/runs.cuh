// Reductions over groups of runs: a run is `length` neighbouring elements, a group has `runs` of
// them. A row of a layer norm is a group of one run; a channel of a batch norm has a run in every
// batch index. Groups are cut into chunks by their shape alone; a block reduces one chunk.
#pragma once

#include "cuda/moments.cuh"
#include "cuda/pack_access.cuh"
#include "cuda/scratch.cuh"
#include "cuda/tuning.h"

namespace normdrop::NORMDROP_DEVICE {

using cuda_tuning::block_threads;

// Where something lies for (group, run, element) or (outer, row, column), in elements.
struct IndexMap {
  std::int64_t first;
  std::int64_t second;
  std::int64_t third;
  __host__ __device__ std::int64_t at(std::int64_t i, std::int64_t j, std::int64_t k) const {
    return i * first + j * second + k * third;
  }
};

// Whether packs of a unit lie aligned in an array of runs or rows that lie where a map says.
template <class T>
bool packs_lie_aligned(const void* pointer, const IndexMap& map, int unit) {
  return packs_lie_aligned<T>(pointer, map.first, unit) &&
         packs_lie_aligned<T>(pointer, map.second, unit);
}

// Elements of a group in chunks: some whole runs, or a part of one.
struct RunPlan {
  std::int64_t groups;
  std::int64_t runs;
  std::int64_t length;
  std::int64_t runs_per_chunk;
  std::int64_t length_per_chunk;
  std::int64_t chunks_per_run;  // above 1 only where a chunk is part of one run
  std::int64_t chunks;          // of a group
};

template <class T>
inline constexpr int chunk_elements = block_threads * cuda_tuning::chunk_bytes_per_thread /
                                      static_cast<int>(sizeof(T) < 4 ? 4 : sizeof(T));

template <class T>
inline constexpr std::int64_t chunk_bytes = chunk_elements<T> * static_cast<int>(sizeof(T));

template <class T>
RunPlan plan_runs(std::int64_t groups, std::int64_t runs, std::int64_t length) {
  constexpr std::int64_t chunk = chunk_elements<T>;
  if (length > chunk) {
    const std::int64_t per_run = divided_up(length, chunk);
    return {groups, runs, length, 1, chunk, per_run, runs * per_run};
  }
  const std::int64_t together = chunk / (length > 0 ? length : 1);
  return {groups, runs, length, together, length, 1, divided_up(runs, together)};
}

// A chunk, by default that of this block.
struct Chunk {
  std::int64_t group;
  std::int64_t slot;
  std::int64_t first_run;
  std::int64_t begin;  // in the run
  int length;          // of a run, or the part of one
  int elements;
  std::uint32_t inverse;  // of the length: ceil(2^32 / length)

  __device__ explicit Chunk(const RunPlan& plan)
      : Chunk(plan, blockIdx.x / plan.chunks, blockIdx.x % plan.chunks) {}

  __device__ Chunk(const RunPlan& plan, std::int64_t of_group, std::int64_t chunk_of_group)
      : group(of_group), slot(chunk_of_group) {
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

  // Which of the chunk's runs an element is in: i / length, exact for 16 bits of either.
  __device__ int run_of(int i) const {
    const std::uint64_t product = static_cast<std::uint64_t>(static_cast<unsigned>(i)) * inverse;
    return length > 1 ? static_cast<int>(product >> 32) : i;
  }

  __device__ std::int64_t at(const IndexMap& map, int i) const {
    const int run = run_of(i);
    return map.at(group, first_run, begin) + run * map.second + (i - run * length) * map.third;
  }
  // Of an array, whose elements are neighbours.
  __device__ std::int64_t element(const IndexMap& map, int i) const {
    const int run = run_of(i);
    return map.at(group, first_run, begin) + run * map.second + (i - run * length);
  }

  // Of a pack that begins with element i.
  template <int unit>
  __device__ PackPlace place(int i) const {
    if constexpr (unit == 1) return {0, i < elements ? 1 : 0, false, false};
    const int in_run = i - run_of(i) * length;
    const int lane = lane_in_warp();
    return {in_run, i < elements ? length - in_run : 0, lane > 0 && in_run > 0,
            lane < warp_threads - 1 && in_run + unit < length};
  }
};
static_assert(chunk_elements<float> <= 1 << 16);

// Shared memory of a block for the moments of what its threads hold.
template <class T>
struct MomentSlots {
  double* largest;
  Sum<T>* sums;
  Sum<T>* squares;
};

// Mean and squares of the elements that `threads` threads hold: two passes over registers.
// Deviations from a mean that is exact for equal elements vanish exactly. What lies beyond the end is
// 0 in a pack: it adds nothing to a sum, but its deviation must not count.
template <int threads, class T, class Elements>
__device__ __forceinline__ Moments moments_of(Elements& elements, const Divisor& count,
                                              const MomentSlots<T>& slots) {
  double scale = 1.0;
  if constexpr (sizeof(T) == 8) {
    double largest = 0.0;
#pragma unroll
    for (int k = 0; k < Elements::packs; ++k) {
#pragma unroll
      for (int j = 0; j < Elements::unit; ++j) largest = fmax(largest, fabs(elements.pack[k][j]));
    }
    largest =
        reduce<threads>(largest, slots.largest, [](double a, double b) { return fmax(a, b); });
    scale = scale_for<T>(largest);
  }
  Sum<T> sum{};
#pragma unroll
  for (int k = 0; k < Elements::packs; ++k) {
    Sum<T> of_pack{};
#pragma unroll
    for (int j = 0; j < Elements::unit; ++j) {
      of_pack.add_term(static_cast<double>(arithmetic(elements.pack[k][j])) * scale);
    }
    sum = combine(sum, of_pack);
  }
  const DoubleDouble total_sum = reduce<threads>(sum, slots.sums).total();
  const DoubleDouble mean = count.quotient(total_sum);
  Sum<T> squares{};
#pragma unroll
  for (int k = 0; k < Elements::packs; ++k) {
    forget_widened(elements.pack[k]);
    Sum<T> of_pack{};
#pragma unroll
    for (int j = 0; j < Elements::unit; ++j) {
      const double value = static_cast<double>(arithmetic(elements.pack[k][j])) * scale;
      double deviation = value - mean.high;
      if constexpr (sizeof(T) == 8) deviation -= mean.low;
      if (Elements::whole_packs || elements.holds(k, j)) of_pack.add_square(deviation);
    }
    if (!Elements::whole_packs || elements.holds(k, 0)) squares = combine(squares, of_pack);
  }
  const double total_squares = reduce<threads>(squares, slots.squares).total().high;
  return {count.value, total_sum, total_squares, scale};
}

// What all threads of a block shall use, worked out by the first warp.
template <class T, class MomentsOfAll>
__device__ __forceinline__ void share_normaliser(const Divisor& count, double eps,
                                                 Normaliser* shared, MomentsOfAll&& moments) {
  if (threadIdx.x < warp_threads) {
    const Normaliser n = normaliser_of<T>(moments(), count, eps);
    if (threadIdx.x == 0) *shared = n;
  }
  __syncthreads();
}

template <class T>
struct GradientSums {
  Sum<T> g;
  Sum<T> gx;

  __device__ __forceinline__ void add(double grad, double x_hat) {
    g.add_term(grad);
    gx.add_term(grad * x_hat);
    if constexpr (sizeof(T) == 8) gx.error += fma(grad, x_hat, -(grad * x_hat));
  }
};

template <class T>
__device__ __forceinline__ GradientSums<T> combine(const GradientSums<T>& a,
                                                   const GradientSums<T>& b) {
  return {combine(a.g, b.g), combine(a.gx, b.gx)};
}

// Calls body with the number of elements of a pack and whether packs lie on their boundaries, whole.
// Runs that are no multiple of a vector go in single elements, those of more than a chunk in vectors
// of which the last may be a part.
template <class T, class LieAligned, class Body>
void for_run_packs(std::int64_t length, LieAligned&& lie_aligned, Body&& body) {
  if (length % vector_elements<T> != 0 && length > chunk_elements<T>) {
    return body(Number<vector_elements<T>>{}, Number<false>{});
  }
  for_packs<vector_elements<T>>(length, lie_aligned, body);
}

// A thread's elements of a chunk: packs `block_threads` packs apart, which do not cross from one run
// to the next.
template <class T, int unit_elements, bool aligned>
struct ChunkElements {
  static constexpr int unit = unit_elements;
  static constexpr int packs = chunk_elements<T> / block_threads / unit;
  static constexpr bool whole_packs = unit == 1 || aligned;
  Pack<T, unit> pack[packs];
  bool valid[packs];
  int elements;  // of the chunk

  __device__ __forceinline__ static int index(int k) {
    return (static_cast<int>(threadIdx.x) + k * block_threads) * unit;
  }
  __device__ __forceinline__ bool holds(int k, int j) const {
    return whole_packs ? valid[k] : index(k) + j < elements;
  }
  // Whether no lane of the warp has an element of the pack.
  __device__ __forceinline__ static bool empty(int k, const Chunk& chunk) {
    return index(k) - lane_in_warp() * unit >= chunk.elements;
  }

  __device__ __forceinline__ explicit ChunkElements(const Chunk& chunk) : elements(chunk.elements) {
#pragma unroll
    for (int k = 0; k < packs; ++k) valid[k] = index(k) < elements;
  }
  __device__ __forceinline__ int count() const { return elements; }

  __device__ __forceinline__ void load(const T* x, const IndexMap& map, const Chunk& chunk) {
#pragma unroll
    for (int k = 0; k < packs; ++k) {
      pack[k] = empty(k, chunk) ? zero_pack<T, unit>()
                                : load_pack<T, unit, aligned>(x + chunk.element(map, index(k)),
                                                              chunk.place<unit>(index(k)));
    }
  }

  __device__ __forceinline__ void write(T* y, const IndexMap& map, const Chunk& chunk,
                                        int k) const {
    store_pack<T, unit, aligned>(y + chunk.element(map, index(k)), pack[k],
                                 chunk.place<unit>(index(k)));
  }
};

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(block_threads)
    run_moments(const T* x, IndexMap x_map, RunPlan plan, Moments* slots) {
  SHARED_ARRAY(double, largest_slots, slots_for<block_threads>);
  SHARED_ARRAY(Sum<T>, sum_slots, slots_for<block_threads>);
  SHARED_ARRAY(Sum<T>, square_slots, slots_for<block_threads>);
  const Chunk chunk(plan);
  ChunkElements<T, unit, aligned> elements(chunk);
  elements.load(x, x_map, chunk);
  const Moments moments = moments_of<block_threads>(
      elements, Divisor(chunk.elements), MomentSlots<T>{largest_slots, sum_slots, square_slots});
  if (threadIdx.x == 0) slots[blockIdx.x] = moments;
}

// Mean and inv_std of a pack's elements, one of each where neighbours share them.
template <int unit>
struct StatisticsOfPack {
  double mean[unit];
  double inv_std[unit];

  template <class Arguments>
  __device__ __forceinline__ void load(const Arguments& a, std::int64_t first, int count) {
    const std::int64_t step = a.statistic_map.third;
#pragma unroll
    for (int j = 0; j < unit; ++j) {
      if (j >= count) break;
      mean[j] = j == 0 || step != 0 ? a.mean[first + j * step] : mean[0];
      inv_std[j] = j == 0 || step != 0 ? a.inv_std[first + j * step] : inv_std[0];
    }
  }
  template <class T>
  __device__ __forceinline__ double x_hat(T x, int j) const {
    return (static_cast<double>(arithmetic(x)) - mean[j]) * inv_std[j];
  }
};

// Sums of g = grad_output * weight and of g * x^, over chunks of runs or down columns.
template <class T, class Plan>
struct SumGradients {
  const T* grad_output;
  const T* x;
  const double* mean;
  const double* inv_std;
  Parameter<T> weight;
  IndexMap grad_output_map;
  IndexMap x_map;
  IndexMap statistic_map;
  IndexMap weight_map;
  Plan plan;
  GradientSums<T>* slots;
};

// Adds the first `count` elements of a pack to sums that lie `step` apart: one for all, or one for each.
template <int step, class T, class Plan, int unit>
__device__ __forceinline__ void add_gradients(const SumGradients<T, Plan>& a,
                                              const Pack<T, unit>& grad_output,
                                              const Pack<T, unit>& x,
                                              const StatisticsOfPack<unit>& statistics,
                                              std::int64_t weight, int count,
                                              GradientSums<T>* sums) {
#pragma unroll
  for (int j = 0; j < unit; ++j) {
    if (j >= count) break;
    const double g = static_cast<double>(arithmetic(grad_output[j])) *
                     static_cast<double>(a.weight.at(weight + j * a.weight_map.third, 1));
    sums[j * step].add(g, statistics.x_hat(x[j], j));
  }
}

template <class T, int unit, bool aligned>
__global__ void __launch_bounds__(block_threads) run_gradients(SumGradients<T, RunPlan> a) {
  constexpr int packs = chunk_elements<T> / block_threads / unit;
  constexpr int together = cuda_tuning::packs_at_once;
  constexpr bool whole_packs = ChunkElements<T, unit, aligned>::whole_packs;
  static_assert(packs % together == 0);
  SHARED_ARRAY(GradientSums<T>, sum_slots, slots_for<block_threads>);
  const Chunk chunk(a.plan);
  GradientSums<T> sums{};
  for (int first = 0; first < packs; first += together) {
    const auto index = [&](int k) {
      return (static_cast<int>(threadIdx.x) + (first + k) * block_threads) * unit;
    };
    Pack<T, unit> grad_output[together];
    Pack<T, unit> x[together];
#pragma unroll
    for (int k = 0; k < together; ++k) {
      const PackPlace place = chunk.place<unit>(index(k));
      grad_output[k] = load_pack<T, unit, aligned>(
          a.grad_output + chunk.element(a.grad_output_map, index(k)), place);
      x[k] = load_pack<T, unit, aligned>(a.x + chunk.element(a.x_map, index(k)), place);
    }
#pragma unroll
    for (int k = 0; k < together; ++k) {
      if (index(k) >= chunk.elements) continue;
      const int count = whole_packs ? unit : chunk.elements - index(k);
      StatisticsOfPack<unit> statistics{};
      statistics.load(a, chunk.at(a.statistic_map, index(k)), count);
      add_gradients<0>(a, grad_output[k], x[k], statistics, chunk.at(a.weight_map, index(k)), count,
                       &sums);
    }
  }
  sums = reduce<block_threads>(sums, sum_slots);
  if (threadIdx.x == 0) a.slots[blockIdx.x] = sums;
}

}  // namespace normdrop::NORMDROP_DEVICE
