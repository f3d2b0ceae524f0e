// The clusters of a launch that are resident: their blocks, threads and shared memory.
#include <algorithm>
#include <stdexcept>

#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE::emulation {
namespace {

// With at least two blocks at work, blocks that disturb each other show; more than about 1024
// fibers cost ThreadSanitizer a gigabyte.
constexpr unsigned resident_threads = 1024;
constexpr unsigned most_resident_blocks = 16;

unsigned threads_of(const dim3& block) { return block.x * block.y * block.z; }

std::uint64_t blocks_of(const dim3& grid) { return std::uint64_t{grid.x} * grid.y * grid.z; }

unsigned resident_clusters(const LaunchDims& dims, std::uint64_t clusters) {
  const unsigned wanted =
      std::clamp(resident_threads / threads_of(dims.block), 2u, most_resident_blocks);
  const unsigned resident = std::max(wanted / dims.cluster, 1u);
  return static_cast<unsigned>(std::min<std::uint64_t>(resident, clusters));
}

}  // namespace

Launch::Launch(const char* name, const LaunchDims& dims, const std::function<void()>& kernel)
    : name_(name),
      dims_(dims),
      kernel_(kernel),
      body_([this] { thread_body(); }),
      order_(order()),
      cluster_count_(blocks_of(dims.grid) / dims.cluster),
      dynamic_{"dynamic_shared", dims.shared_bytes, 16} {
  layout_.add(dynamic_, true);
  const unsigned resident = resident_clusters(dims, cluster_count_);
  const unsigned warps = (threads_of(dims.block) + lanes_per_warp - 1) / lanes_per_warp;
  const std::vector<unsigned> ranks = order_.ranks(resident * dims.cluster * warps);
  warp_of_rank_.resize(ranks.size());
  runnable_ranks_.resize((ranks.size() + 63) / 64);
  auto rank = ranks.begin();
  for (unsigned i = 0; i < resident; ++i) {
    make_cluster(*clusters_.emplace_back(std::make_unique<Cluster>()));
    for (Block& block : clusters_.back()->blocks) {
      for (Warp& warp : block.warps) {
        warp.rank = *rank++;
        warp_of_rank_[warp.rank] = &warp;
      }
    }
  }
}

Launch::~Launch() {
  for (const auto& cluster : clusters_) {
    for (Block& block : cluster->blocks) {
      for (Thread& thread : block.threads) {
        if (thread.fiber != nullptr) return_fiber(thread.fiber);
      }
      error_.empty() ? return_arena(block.arena, layout_) : discard_arena(block.arena);
    }
  }
}

void Launch::make_cluster(Cluster& cluster) {
  const unsigned threads = threads_of(dims_.block);
  cluster.blocks.resize(dims_.cluster);
  for (unsigned rank = 0; rank < dims_.cluster; ++rank) {
    Block& block = cluster.blocks[rank];
    block.cluster = &cluster;
    block.rank = rank;
    block.arena = take_arena();
    block.threads.resize(threads);
    block.warps.resize((threads + lanes_per_warp - 1) / lanes_per_warp);
    for (unsigned i = 0; i < threads; ++i) {
      Warp& warp = block.warps[i / lanes_per_warp];
      warp.block = &block;
      if (i % lanes_per_warp == 0) warp.threads = &block.threads[i];
      block.threads[i].warp = &warp;
      block.threads[i].lane = i % lanes_per_warp;
      block.threads[i].index = {i % dims_.block.x, i / dims_.block.x % dims_.block.y,
                                i / dims_.block.x / dims_.block.y};
    }
  }
}

// Neighbours along x form a cluster.
void Launch::start(Cluster& cluster, std::uint64_t number) {
  const unsigned clusters_x = dims_.grid.x / dims_.cluster;
  const auto x = static_cast<unsigned>(number % clusters_x);
  const auto y = static_cast<unsigned>(number / clusters_x % dims_.grid.y);
  const auto z = static_cast<unsigned>(number / clusters_x / dims_.grid.y);
  ++cluster.turn;
  cluster.remaining = dims_.cluster;
  cluster.barrier = Barrier{.expected = dims_.cluster * threads_of(dims_.block)};
  for (Block& block : cluster.blocks) start(block, {x * dims_.cluster + block.rank, y, z});
  ++running_clusters_;
}

void Launch::start(Block& block, uint3 index) {
  block.index = index;
  block.begun = false;
  block.remaining = static_cast<unsigned>(block.threads.size());
  block.barrier = Barrier{.expected = block.remaining};
  for (Warp& warp : block.warps) {
    const auto first = static_cast<unsigned>(warp.threads - block.threads.data());
    const unsigned lanes = std::min(lanes_per_warp, block.remaining - first);
    warp.existing = all_lanes >> (lanes_per_warp - lanes);
    warp.runnable = warp.existing;
    warp.returned = 0;
    warp.requesting = 0;
    set_runnable(warp, true);
  }
}

// Only when its first thread runs: what others in the cluster wrote to it before is lost, as it
// would be with a block that had not started.
void Launch::begin(Block& block) {
  block.begun = true;
  poison(*block.arena, layout_);
  forbid_redzones(*block.arena, layout_);
  for (Thread& thread : block.threads) {
    if (thread.fiber == nullptr) thread.fiber = take_fiber();
  }
}

void Launch::end(Block& block) {
  const std::string damage = overrun(*block.arena, layout_);
  if (!damage.empty()) report(described(block), damage);
  poison(*block.arena, layout_);  // whoever in the cluster still reads it, reads NaN
  Cluster& cluster = *block.cluster;
  if (--cluster.remaining > 0) return;
  --running_clusters_;
  if (started_ < cluster_count_) start(cluster, order_.nth(started_++, cluster_count_));
}

void* Launch::shared(const SharedArray& array) {
  const SharedLayout::Place* place = layout_.find(array);
  if (place == nullptr) {
    try {
      place = &layout_.add(array, false);
    } catch (const std::length_error& error) {
      fail(error.what());
    }
    for (const auto& cluster : clusters_) {
      for (Block& block : cluster->blocks) poison(*block.arena, *place);
    }
  }
  return thread_->warp->block->arena->bytes + place->begin;
}

void* Launch::dynamic_shared() { return shared(dynamic_); }

}  // namespace normdrop::NORMDROP_DEVICE::emulation
