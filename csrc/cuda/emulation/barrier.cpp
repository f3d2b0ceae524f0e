#include "cuda/emulation/barrier.h"

#include <cstring>
#include <string>

#include "cuda/emulation/sanitizer.h"
#include "cuda/emulation/scheduler.h"

namespace normdrop::NORMDROP_DEVICE {
namespace emulation {
namespace {

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string called(const char* function, const Site& site) {
  return std::string(function) + " at " + described(site);
}

void check_arrival(const Barrier& barrier, unsigned returned, const char* function,
                   const Site& site) {
  if (returned > 0) {
    running_launch().fail(called(function, site) + ": " + std::to_string(returned) +
                          " of the threads that it waits for have returned from the kernel");
  }
  if (barrier.arrived > 0 && !same(barrier.site, site)) {
    running_launch().fail(called(function, site) + ": others wait at another barrier, " +
                          called(barrier.function, barrier.site));
  }
}

template <class Visit>
void each_thread(Block& block, Visit visit) {
  for (Thread& thread : block.threads) visit(thread);
}

template <class Visit>
void each_thread(Cluster& cluster, Visit visit) {
  for (Block& block : cluster.blocks) each_thread(block, visit);
}

// Returns whether any thread of the group brought a predicate other than 0.
template <class Group>
int pass(Group& group, int predicate, const char* function, const Site& site) {
  Launch& launch = running_launch();
  Barrier& barrier = group.barrier;
  const unsigned turn = barrier.turn & 1u;
  if (barrier.arrived++ == 0) {
    barrier.function = function;
    barrier.site = site;
    barrier.result[turn] = 0;
  }
  barrier.result[turn] |= predicate != 0;
  sanitizer::release(&barrier.order[turn]);
  if (barrier.arrived < barrier.expected) {
    launch.wait(function, site);
  } else {
    barrier.arrived = 0;
    ++barrier.turn;
    each_thread(group, [&](Thread& thread) { launch.wake(thread); });
    launch.give_way();
  }
  sanitizer::acquire(&barrier.order[turn]);
  return barrier.result[turn];
}

Block& running_block() { return *running_launch().thread().warp->block; }

int pass_block(int predicate, const char* function, const Site& site) {
  Block& block = running_block();
  check_arrival(block.barrier, block.barrier.expected - block.remaining, function, site);
  return pass(block, predicate, function, site);
}

}  // namespace

void* cluster_address(void* shared, unsigned rank, const Site& site) {
  Block& block = running_block();
  const auto offset = reinterpret_cast<std::uintptr_t>(shared) -
                      reinterpret_cast<std::uintptr_t>(block.arena->bytes);
  if (offset >= Arena::capacity) {
    running_launch().fail(called("cluster_address", site) +
                          ": the address must be shared memory of the calling block");
  }
  if (rank >= block.cluster->blocks.size()) {
    running_launch().fail(called("cluster_address", site) + ": rank must be below " +
                          std::to_string(block.cluster->blocks.size()) + ", got " +
                          std::to_string(rank));
  }
  return block.cluster->blocks[rank].arena->bytes + offset;
}

}  // namespace emulation

void __syncthreads(emulation::Site site) { emulation::pass_block(0, "__syncthreads", site); }

int __syncthreads_or(int predicate, emulation::Site site) {
  return emulation::pass_block(predicate, "__syncthreads_or", site);
}

unsigned cluster_rank() { return emulation::running_block().rank; }

void cluster_sync(emulation::Site site) {
  emulation::Cluster& cluster = *emulation::running_block().cluster;
  unsigned returned = 0;
  for (const emulation::Block& block : cluster.blocks) {
    returned += block.barrier.expected - block.remaining;
  }
  emulation::check_arrival(cluster.barrier, returned, "cluster_sync", site);
  emulation::pass(cluster, 0, "cluster_sync", site);
}

}  // namespace normdrop::NORMDROP_DEVICE
