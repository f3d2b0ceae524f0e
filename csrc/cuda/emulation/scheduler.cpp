#include "cuda/emulation/scheduler.h"

#include <bit>
#include <exception>

#include "cuda/emulation/sanitizer.h"
#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE {

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace emulation {
namespace {

Launch* running = nullptr;

}  // namespace

Launch& running_launch() { return *running; }

void Launch::run() {
  running = this;
  blockDim = dims_.block;
  gridDim = dims_.grid;
  sanitizer::release(&begin_order_);
  for (const auto& cluster : clusters_) start(*cluster, order_.nth(started_++, cluster_count_));
  try {
    schedule();
  } catch (const std::exception& error) {  // no memory for another fiber
    error_ = error.what();
  }
  if (!error_.empty()) abandon();
  sanitizer::acquire(&end_order_);
  running = nullptr;
  if (!error_.empty()) throw DeviceError(name_ + ": " + error_);
}

void Launch::schedule() {
  while (running_clusters_ > 0 && error_.empty()) {
    if (Warp* warp = first_runnable()) {
      step(warp->threads[order_.lane(warp->runnable, warp->rank)]);
    } else {
      error_ = "no thread can go on: " + waiting_threads(clusters_);
    }
  }
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
  } catch (const std::exception& error) {
    report(described(*thread_), error.what());
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
      report(described(other), std::string(other.waits_at) + " at " + described(other.site) +
                                   " names in its mask lane " + std::to_string(thread.lane) +
                                   ", which has returned from the kernel");
    }
  }
  for (const Barrier* barrier : {&block.barrier, &block.cluster->barrier}) {
    if (barrier->arrived > 0) {
      report(described(thread), std::string("returned from the kernel while others wait at ") +
                                    barrier->function + " at " + described(barrier->site));
    }
  }
  if (--block.remaining == 0) end(block);
}

void Launch::report(const std::string& who, const std::string& text) {
  if (error_.empty()) error_ = who + ": " + text;
}

void Launch::fail(const std::string& text) {
  report(described(*thread_), text);
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

}  // namespace emulation
}  // namespace normdrop::NORMDROP_DEVICE
