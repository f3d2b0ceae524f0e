// Every function that a kernel file may use, each with an answer that is known.
#include "contract.h"

#include "platform.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

constexpr int threads = 64;
constexpr std::uint32_t all_lanes = 0xFFFFFFFFu;

struct Answers {
  ContractAnswers* answers;
  int thread;
  __device__ void check(int i, bool holds) const {
    ++(holds ? answers->held : answers->broken)[thread][i];
  }
};

__device__ int place_of_thread() {
  return static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y + threads * blockIdx.x);
}

template <class T>
__device__ __forceinline__ bool shuffles(T lane) {
  const bool from = __shfl_sync(all_lanes, lane, 5) == T(5);
  const bool across = __shfl_xor_sync(all_lanes, lane, 8, 16) == T(int(lane) ^ 8);
  const T last = T(int(lane) % 16 == 15 ? int(lane) : int(lane) + 1);
  const bool down = __shfl_down_sync(all_lanes, lane, 1, 16) == last;
  const T first = T(int(lane) % 8 == 0 ? int(lane) : int(lane) - 1);
  return from && across && down && __shfl_up_sync(all_lanes, lane, 1, 8) == first;
}

__device__ bool part_of_a_warp_shuffles(int lane) {
  if (lane >= 8) return true;
  int sum = lane;
  for (int distance = 4; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xFFu, sum, distance, 8);
  }
  __syncwarp(0xFFu);
  return sum == 28;
}

__device__ bool votes(int lane) {
  const bool ballot = __ballot_sync(all_lanes, lane % 2) == 0xAAAAAAAAu;
  const bool any = __any_sync(all_lanes, lane == 3) != 0 && __any_sync(all_lanes, 0) == 0;
  return ballot && any && __all_sync(all_lanes, 1) != 0 && __all_sync(all_lanes, lane) == 0;
}

template <int n>
__device__ bool moves_bytes(const unsigned char* source, unsigned char* target) {
  store_word(target, load_word<word<n>>(source));
  store_word_streaming(target + 16, load_word_streaming<word<n>>(source));
  for (int i = 0; i < n; ++i) {
    if (target[i] != source[i] || target[16 + i] != source[i]) return false;
  }
  return true;
}

__device__ bool words_in_order(const unsigned char* source) {
  const uint4 all = load_word<uint4>(source);
  const uint2 second_half = load_word_streaming<uint2>(address_or_zeros(true, source + 8));
  const uint4 none = load_word<uint4>(address_or_zeros(false, source));
  return load_word<unsigned>(source) == all.x && second_half.x == all.z && second_half.y == all.w &&
         (none.x | none.y | none.z | none.w) == 0;
}

__global__ void __launch_bounds__(threads)
    contract_of_threads(ContractAnswers* __restrict__ answers,
                        const unsigned char* __restrict__ bytes) {
  const Answers out{answers, place_of_thread()};
  SHARED_ARRAY(int, ring, threads);
  SHARED_ARRAY(uint4, scratch, 2 * threads);
  int* dynamic = dynamic_shared<int>();
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * threadIdx.y);
  const int lane = thread % 32;
  ring[thread] = thread;
  dynamic[thread] = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + blockIdx.z));
  __syncthreads();
  out.check(0, ring[(thread + 1) % threads] == (thread + 1) % threads);
  out.check(1, dynamic[(thread + 33) % threads] == static_cast<int>(blockIdx.x));
  out.check(2, __syncthreads_or(thread == 7) != 0);
  out.check(3, __syncthreads_or(0) == 0);
  out.check(4, shuffles(lane) && shuffles(float(lane)) && shuffles(std::uint32_t(lane)));
  out.check(5, shuffles(double(lane)) && shuffles(std::uint64_t(lane)));
  out.check(6, part_of_a_warp_shuffles(lane));
  out.check(7, votes(lane));
  auto* target = reinterpret_cast<unsigned char*>(&scratch[2 * thread]);
  out.check(8, words_in_order(bytes));
  out.check(9, moves_bytes<2>(bytes, target) && moves_bytes<4>(bytes, target));
  out.check(10, moves_bytes<8>(bytes, target) && moves_bytes<16>(bytes, target));
  __threadfence();
  __syncwarp();
}

template <class T>
__device__ bool keeps(float value, std::uint16_t bits) {
  const T half = rounded<T>(value);
  const bool same = half.bits == bits && rounded<T>(double(value)).bits == bits;
  return same && to_double(half) == double(to_float(half));
}

__global__ void contract_of_numbers(ContractAnswers* answers, float zero) {
  const Answers out{answers, 0};
  const float infinity = 1.0f / zero;
  const float nothing = infinity - infinity;
  out.check(0, keeps<float16>(1.5f, 0x3E00) && keeps<float16>(65519.0f, 0x7BFF));
  out.check(1, keeps<float16>(65520.0f, 0x7C00) && keeps<float16>(0x1p-24f, 0x0001));
  out.check(2, keeps<float16>(0x1p-25f, 0x0000) && keeps<float16>(-0x1.8p-25f, 0x8001));
  out.check(3, keeps<bfloat16>(1.5f, 0x3FC0) && keeps<bfloat16>(0x1.01p0f, 0x3F80));
  out.check(4, keeps<bfloat16>(0x1.03p0f, 0x3F82) && keeps<bfloat16>(-infinity, 0xFF80));
  out.check(5, keeps<bfloat16>(0x1.fffffep127f, 0x7F80) && keeps<bfloat16>(0x1p-133f, 0x0001));
  // Just above a tie: through float it would become the tie and go down.
  out.check(6, rounded<bfloat16>(0x1.0100000001p0).bits == 0x3F81);
  out.check(7, rounded<float16>(0x1.0020000000001p0).bits == 0x3C01);
  out.check(8, rounded<float16>(1e300).bits == 0x7C00 && rounded<bfloat16>(-1e300).bits == 0xFF80);
  const float half_nan = to_float(rounded<float16>(nothing));
  const double brain_nan = to_double(rounded<bfloat16>(double(nothing)));
  out.check(9, half_nan != half_nan && brain_nan != brain_nan);
  out.check(10, rounded<float>(0.1) == 0.1f && rounded<double>(0.1f) == double(0.1f) + zero);
  out.check(11, bits_of(1.0f) == 0x3F800000u && float_of(0x40000000u) == 2.0f + zero);
  out.check(12, bits_of(1.0) == 0x3FF0000000000000u && double_of(0x4000000000000000u) == 2.0);
  const float tiny = 0x1p-12f + zero;  // its square falls off the end of 1 + 2 tiny
  const float product = (1 + tiny) * (1 + tiny);
  out.check(13, product - (1 + 2 * tiny) == 0 && fma(1 + tiny, 1 + tiny, -(1 + 2 * tiny)) != 0);
  out.check(14, fmaf(2.0f, 3.0f, 1.0f + zero) == 7 && fma(2.0, 3.0, 1.0 + zero) == 7);
  out.check(15, sqrtf(2.0f + zero) == 0x1.6a09e6p0f && sqrt(4.0 + zero) == 2);
  out.check(16, to_float(2.5f) == 2.5f && to_double(0.1) == 0.1 && to_double(2.5f) == 2.5);
}

__global__ void contract_of_clusters(ContractAnswers* answers) {
  const Answers out{answers, place_of_thread()};
  SHARED_ARRAY(int, rank, threads);
  rank[threadIdx.x] = static_cast<int>(cluster_rank());
  cluster_sync();
  out.check(0, cluster_rank() == blockIdx.x % 2);
  const unsigned other = 1 - cluster_rank();
  out.check(1, cluster_address(rank, other)[threadIdx.x] == static_cast<int>(other));
  out.check(2, *cluster_address(&rank[3], cluster_rank()) == static_cast<int>(1 - other));
  cluster_sync();
}

}  // namespace

void run_contract_of_threads(ContractAnswers* answers, const void* bytes, void* stream) {
  const LaunchDims dims{.grid = dim3(3), .block = dim3(32, 2), .shared_bytes = threads * 4};
  launch("contract_of_threads", contract_of_threads, dims, stream, answers,
         static_cast<const unsigned char*>(bytes));
}

void run_contract_of_numbers(ContractAnswers* answers, void* stream) {
  launch("contract_of_numbers", contract_of_numbers, {dim3(1), dim3(1)}, stream, answers, 0.0f);
}

void run_contract_of_clusters(ContractAnswers* answers, void* stream) {
  const LaunchDims dims{.grid = dim3(4), .block = dim3(threads), .cluster = 2};
  launch("contract_of_clusters", contract_of_clusters, dims, stream, answers);
}

}  // namespace normdrop::NORMDROP_DEVICE
