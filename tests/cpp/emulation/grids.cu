// Every thread of every block runs once, under its own indices, whatever the shape of the launch.
#include <thread>
#include <vector>

#include "harness.h"
#include "platform.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

__device__ std::size_t place(const dim3& extent, const uint3& index) {
  return index.x + std::size_t{extent.x} * (index.y + std::size_t{extent.y} * index.z);
}

__global__ void count_visits(int* visits) {
  const std::size_t threads = std::size_t{blockDim.x} * blockDim.y * blockDim.z;
  const std::size_t thread = place(blockDim, threadIdx);
  __syncthreads();
  ++visits[place(gridDim, blockIdx) * threads + thread];
}

void check_visits(const LaunchDims& dims) {
  const std::size_t count = std::size_t{dims.grid.x} * dims.grid.y * dims.grid.z * dims.block.x *
                            dims.block.y * dims.block.z;
  std::vector<int> visits(count, 0);
  launch("count_visits", count_visits, dims, nullptr, visits.data());
  for (std::size_t i = 0; i < count; ++i) {
    require(visits[i] == 1,
            "thread " + std::to_string(i) + " ran " + std::to_string(visits[i]) + " times");
  }
}

// A ring over the blocks of a cluster: each reads its neighbour's part and adds it up.
__global__ void sum_over_cluster(std::int64_t* sums, unsigned blocks) {
  SHARED_ARRAY(std::int64_t, sum, 1);
  if (threadIdx.x == 0) sum[0] = 100 * (blockIdx.x + 1);
  cluster_sync();
  if (threadIdx.x == 0) {
    std::int64_t all = 0;
    for (unsigned rank = 0; rank < blocks; ++rank) all += *cluster_address(sum, rank);
    sums[blockIdx.x] = all;
  }
  cluster_sync();
}

void check_cluster(unsigned cluster, unsigned threads) {
  std::vector<std::int64_t> sums(2 * cluster, -1);
  const LaunchDims dims{.grid = dim3(2 * cluster), .block = dim3(threads), .cluster = cluster};
  launch("sum_over_cluster", sum_over_cluster, dims, nullptr, sums.data(), cluster);
  for (unsigned block = 0; block < 2 * cluster; ++block) {
    const std::int64_t first = block / cluster * cluster;
    const std::int64_t expected = 100 * (cluster * (first + 1) + cluster * (cluster - 1) / 2);
    require(sums[block] == expected, "block " + std::to_string(block));
  }
}

// Launches of several threads of the system take turns.
void check_concurrent_launches() {
  std::vector<std::vector<int>> visits(4, std::vector<int>(5 * 70, 0));
  std::vector<std::thread> launching;
  for (std::vector<int>& mine : visits) {
    launching.emplace_back([&mine] {
      launch("count_visits", count_visits, {dim3(5), dim3(70)}, nullptr, mine.data());
    });
  }
  for (std::thread& thread : launching) thread.join();
  for (const std::vector<int>& mine : visits) {
    for (int count : mine) require(count == 1, "a thread did not run once");
  }
}

}  // namespace

std::vector<Case> grid_cases() {
  std::vector<Case> cases;
  for (const LaunchDims& dims :
       {LaunchDims{dim3(1), dim3(1)}, LaunchDims{dim3(37), dim3(33)},
        LaunchDims{dim3(3, 5, 7), dim3(2, 3, 5)}, LaunchDims{dim3(2), dim3(1024)},
        LaunchDims{dim3(500), dim3(7)}, LaunchDims{dim3(6, 2), dim3(64), 0, 3}}) {
    cases.push_back({"right/grid/" + std::to_string(cases.size()),
                     [=] { in_every_order([&] { check_visits(dims); }); }});
  }
  for (unsigned cluster : {2u, 3u, 8u, 16u}) {
    cases.push_back({"right/cluster_of_" + std::to_string(cluster),
                     [=] { in_every_order([=] { check_cluster(cluster, 64); }); }});
  }
  // More threads than ThreadSanitizer can hold.
  cases.push_back({"large/cluster_of_16_full_blocks", [] { check_cluster(16, 1024); }});
  cases.push_back({"right/concurrent_launches", check_concurrent_launches});
  return cases;
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
