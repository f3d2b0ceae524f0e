#include "cuda/emulation/scheduler.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "cuda/emulation/sanitizer.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE {

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulation {
namespace {

// With at least two blocks at work, blocks that disturb each other show; more than about 1024
// fibers cost ThreadSanitizer a gigabyte.
constexpr unsigned resident_threads = 1024;
constexpr unsigned most_resident_blocks = 16;

Launch* running = nullptr;

unsigned threads_of(const dim3& block) { return block.x * block.y * block.z; }

std::uint64_t blocks_of(const dim3& grid) { return std::uint64_t{grid.x} * grid.y * grid.z; }

unsigned resident_clusters(const LaunchDims& dims, std::uint64_t clusters) {
  const unsigned wanted =
      std::clamp(resident_threads / threads_of(dims.block), 2u, most_resident_blocks);
  const unsigned resident = std::max(wanted / dims.cluster, 1u);
  return static_cast<unsigned>(std::min<std::uint64_t>(resident, clusters));
}

}  // namespace

Launch& running_launch() { return *running; }

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
      return_arena(block.arena, layout_);
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
  overrun(*block.arena, layout_);
  for (Thread& thread : block.threads) {
    if (thread.fiber == nullptr) thread.fiber = take_fiber();
  }
}

void Launch::end(Block& block) {
  const std::string damage = overrun(*block.arena, layout_);
  if (!damage.empty()) report(block.threads.front(), damage);
  poison(*block.arena, layout_);  // whoever in the cluster still reads it, reads NaN
  Cluster& cluster = *block.cluster;
  if (--cluster.remaining > 0) return;
  --running_clusters_;
  if (started_ < cluster_count_) start(cluster, order_.nth(started_++, cluster_count_));
}

void Launch::run() {
  running = this;
  blockDim = dims_.block;
  gridDim = dims_.grid;
  sanitizer::release(&begin_order_);
  for (const auto& cluster : clusters_) start(*cluster, order_.nth(started_++, cluster_count_));
  while (running_clusters_ > 0 && error_.empty()) {
    if (Warp* warp = first_runnable()) {
      step(warp->threads[order_.lane(warp->runnable, warp->rank)]);
    } else {
      error_ = "no thread can go on: " + waiting_threads(clusters_);
    }
  }
  if (!error_.empty()) abandon();
  sanitizer::acquire(&end_order_);
  running = nullptr;
  if (!error_.empty()) throw DeviceError(name_ + ": " + error_);
}

Warp* Launch::first_runnable() const {
  for (std::size_t i = 0; i < runnable_ranks_.size(); ++i) {
    if (runnable_ranks_[i] != 0) {
      return warp_of_rank_[64 * i + static_cast<unsigned>(std::countr_zero(runnable_ranks_[i]))];
    }
  }
  return nullptr;
}

void Launch::set_runnable(const Warp& warp, bool runnable) {
  const std::uint64_t bit = std::uint64_t{1} << (warp.rank % 64);
  std::uint64_t& word = runnable_ranks_[warp.rank / 64];
  word = runnable ? word | bit : word & ~bit;
}

void Launch::step(Thread& thread) {
  Block& block = *thread.warp->block;
  if (!block.begun) begin(block);
  thread_ = &thread;
  threadIdx = thread.index;
  blockIdx = block.index;
  if (thread.fiber->finished()) {
    thread.fiber->start(body_);
  } else {
    thread.fiber->resume();
  }
  if (thread.fiber->finished()) retire(thread);
}

void Launch::thread_body() {
  Cluster& cluster = *thread_->warp->block->cluster;
  sanitizer::acquire(&begin_order_);
  sanitizer::acquire(&cluster.order[(cluster.turn + 1) % 2]);
  try {
    kernel_();
  } catch (const Abandoned&) {
  }
  sanitizer::release(&cluster.order[cluster.turn % 2]);
  sanitizer::release(&end_order_);
}

void Launch::retire(Thread& thread) {
  Warp& warp = *thread.warp;
  Block& block = *warp.block;
  const std::uint32_t bit = 1u << thread.lane;
  warp.returned |= bit;
  warp.runnable &= ~bit;
  if (warp.runnable == 0) set_runnable(warp, false);
  if (abandoning_) return;
  for (std::uint32_t rest = warp.requesting; rest != 0; rest &= rest - 1) {
    const Thread& other = warp.threads[std::countr_zero(rest)];
    if ((other.request.mask & bit) != 0) {
      report(other, std::string(other.waits_at) + " at " + described(other.site) +
                        " names in its mask lane " + std::to_string(thread.lane) +
                        ", which has returned from the kernel");
    }
  }
  for (const Barrier* barrier : {&block.barrier, &block.cluster->barrier}) {
    if (barrier->arrived > 0) {
      report(thread, std::string("returned from the kernel while others wait at ") +
                         barrier->function + " at " + described(barrier->site));
    }
  }
  if (--block.remaining == 0) end(block);
}

void Launch::report(const Thread& thread, const std::string& text) {
  if (error_.empty()) error_ = described(thread) + ": " + text;
}

void Launch::fail(const std::string& text) {
  report(*thread_, text);
  throw Abandoned{};
}

void Launch::abandon() {
  abandoning_ = true;
  for (const auto& cluster : clusters_) {
    for (Block& block : cluster->blocks) {
      for (Thread& thread : block.threads) {
        while (thread.fiber != nullptr && !thread.fiber->finished()) step(thread);
      }
    }
  }
}

void Launch::wait(const char* function, const Site& site) {
  Thread& thread = *thread_;
  thread.waits_at = function;
  thread.site = site;
  thread.warp->runnable &= ~(1u << thread.lane);
  if (thread.warp->runnable == 0) set_runnable(*thread.warp, false);
  Fiber::suspend();
  if (abandoning_) throw Abandoned{};
}

void Launch::wake(Thread& thread) {
  thread.waits_at = nullptr;
  thread.warp->runnable |= 1u << thread.lane;
  set_runnable(*thread.warp, true);
}

void Launch::give_way() {
  Fiber::suspend();
  if (abandoning_) throw Abandoned{};
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

}  // namespace emulation
}  // namespace normdrop::NORMDROP_DEVICE
