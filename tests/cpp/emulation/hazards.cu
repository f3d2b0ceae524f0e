// Programs that need one barrier, with it and without it. With it they are right in every order;
// without it some order must give another answer.
#include <vector>

#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

constexpr int threads = 128;
constexpr int blocks = 6;

template <bool guarded>
__global__ void read_neighbour(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(threadIdx.x);
  value[i] = i;
  if constexpr (guarded) __syncthreads();
  out[blockIdx.x * threads + threadIdx.x] = value[(i + 1) % threads];
}

int neighbour(int i) { return (i % threads + 1) % threads; }

// The next round's write must not come before everybody has read this round's.
template <bool guarded>
__global__ void read_in_rounds(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(threadIdx.x);
  int sum = 0;
  for (int round = 1; round <= 3; ++round) {
    value[i] = i * round;
    __syncthreads();
    sum += value[(i + 33) % threads];
    if constexpr (guarded) __syncthreads();
  }
  out[blockIdx.x * threads + threadIdx.x] = sum;
}

int sum_of_rounds(int i) { return (i % threads + 33) % threads * 6; }

template <bool guarded>
__global__ void read_partner_in_warp(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(threadIdx.x);
  value[i] = i;
  if constexpr (guarded) __syncwarp();
  out[blockIdx.x * threads + threadIdx.x] = value[i ^ 5];
}

int partner(int i) { return i % threads ^ 5; }

template <bool guarded>
__global__ void read_warp_in_rounds(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(threadIdx.x);
  int sum = 0;
  for (int round = 1; round <= 3; ++round) {
    value[i] = i * round;
    __syncwarp();
    sum += value[i ^ 5];
    if constexpr (guarded) __syncwarp();
  }
  out[blockIdx.x * threads + threadIdx.x] = sum;
}

int sum_of_partners(int i) { return 6 * partner(i); }

template <bool guarded>
__global__ void sum_row(int* out) {
  SHARED_ARRAY(float, row, 2 * threads);
  row[threadIdx.x] = 1;
  if constexpr (guarded) row[threads + threadIdx.x] = 1;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < 2 * threads; ++i) sum += row[i];
  out[blockIdx.x * threads + threadIdx.x] = sum == 2 * threads ? 1 : 0;
}

int one(int) { return 1; }

// The other block's array must have been written.
template <bool guarded>
__global__ void read_other_block(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  value[threadIdx.x] = i;
  if constexpr (guarded) cluster_sync();
  out[i] = cluster_address(value, 1 - cluster_rank())[threadIdx.x];
  cluster_sync();
}

// The other block must not be gone.
template <bool guarded>
__global__ void read_leaving_block(int* out) {
  SHARED_ARRAY(int, value, threads);
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  value[threadIdx.x] = i;
  cluster_sync();
  out[i] = cluster_address(value, 1 - cluster_rank())[threadIdx.x];
  if constexpr (guarded) cluster_sync();
}

int other_block(int i) { return i ^ threads; }

bool gives(const char* name, void (*kernel)(int*), unsigned cluster, int (*expected)(int)) {
  std::vector<int> out(blocks * threads, -2);
  launch(name, kernel, {.grid = dim3(blocks), .block = dim3(threads), .cluster = cluster}, nullptr,
         out.data());
  for (int i = 0; i < blocks * threads; ++i) {
    if (out[i] != expected(i)) return false;
  }
  return true;
}

struct Hazard {
  const char* name;
  void (*guarded)(int*);
  void (*unguarded)(int*);
  int (*expected)(int);
  unsigned cluster = 1;
};

#define NORMDROP_HAZARD(kernel) #kernel, kernel<true>, kernel<false>
constexpr Hazard hazards[] = {
    {NORMDROP_HAZARD(read_neighbour), neighbour},
    {NORMDROP_HAZARD(read_in_rounds), sum_of_rounds},
    {NORMDROP_HAZARD(read_partner_in_warp), partner},
    {NORMDROP_HAZARD(read_warp_in_rounds), sum_of_partners},
    {NORMDROP_HAZARD(sum_row), one},
    {NORMDROP_HAZARD(read_other_block), other_block, 2},
    {NORMDROP_HAZARD(read_leaving_block), other_block, 2},
};

void passes_guarded(const Hazard& hazard) {
  in_every_order([&] {
    require(gives(hazard.name, hazard.guarded, hazard.cluster, hazard.expected),
            "the answer is wrong");
  });
}

void shows_unguarded(const Hazard& hazard) {
  const int refuted = orders_that_refute(
      [&] { return gives(hazard.name, hazard.unguarded, hazard.cluster, hazard.expected); });
  require(refuted > 0, "no order shows the defect");
}

}  // namespace

std::vector<Case> hazard_cases() {
  std::vector<Case> cases;
  for (const Hazard& hazard : hazards) {
    cases.push_back({std::string("right/") + hazard.name, [&] { passes_guarded(hazard); }});
    cases.push_back({std::string("wrong/") + hazard.name, [&] { shows_unguarded(hazard); }});
  }
  return cases;
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
