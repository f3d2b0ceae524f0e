// Runs one launch: keeps a few clusters of blocks resident, each of their threads a fiber, and
// lets that thread go on which stands first in the order and can run.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cuda/emulation/order.h"
#include "cuda/emulation/shared_memory.h"
#include "cuda/emulation/thread_state.h"

namespace normdrop::NORMDROP_DEVICE {

struct LaunchDims {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  unsigned cluster = 1;
};

namespace emulation {

class Launch {
 public:
  Launch(const char* name, const LaunchDims& dims, const std::function<void()>& kernel);
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  // Throws DeviceError for the first thing that a kernel may not do.
  void run();

  Thread& thread() { return *thread_; }  // that runs
  [[noreturn]] void fail(const std::string& text);
  // Suspends the running thread until some other calls wake() for it.
  void wait(const char* function, const Site& site);
  void wake(Thread& thread);
  // Lets those run who stand before the running thread.
  void give_way();
  void* shared(const SharedArray& array);
  void* dynamic_shared();

 private:
  struct Abandoned {};  // unwinds the threads of a launch that failed

  void make_cluster(Cluster& cluster);
  void start(Cluster& cluster, std::uint64_t number);
  void start(Block& block, uint3 index);
  void begin(Block& block);
  void end(Block& block);
  void schedule();
  Warp* first_runnable() const;
  void step(Thread& thread);
  void retire(Thread& thread);
  void thread_body();
  void abandon();
  void report(const std::string& who, const std::string& text);
  void set_runnable(const Warp& warp, bool runnable);

  const std::string name_;
  const LaunchDims dims_;
  const std::function<void()>& kernel_;
  const std::function<void()> body_;
  const Order order_;
  std::uint64_t cluster_count_;
  std::uint64_t started_ = 0;
  unsigned running_clusters_ = 0;
  std::vector<std::unique_ptr<Cluster>> clusters_;
  std::vector<Warp*> warp_of_rank_;
  std::vector<std::uint64_t> runnable_ranks_;  // a bit each
  SharedLayout layout_;
  SharedArray dynamic_;
  Thread* thread_ = nullptr;
  std::string error_;
  bool abandoning_ = false;
  char begin_order_ = 0;  // ThreadSanitizer: the launch comes before its threads
  char end_order_ = 0;    // and they before what follows it
};

Launch& running_launch();

// "block (1, 0, 0)", "thread (3, 0, 0) of block (1, 0, 0)" and "layer_norm.cu:42"
std::string described(const Block& block);
std::string described(const Thread& thread);
std::string described(const Site& site);
// Of all threads that wait: which of them at what.
std::string waiting_threads(const std::vector<std::unique_ptr<Cluster>>& clusters);

// Throws DeviceError where CUDA would refuse.
void check_dims(const char* name, const LaunchDims& dims);

}  // namespace emulation
}  // namespace normdrop::NORMDROP_DEVICE
