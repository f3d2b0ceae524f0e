// Work sharing for the CPU kernels: all that they know of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace normdrop::cpu {

using RangeFunction = void (*)(void* context, std::int64_t begin, std::int64_t end);

// Splits [0, tasks) among threads where `elements` is worth it; every task runs exactly once, on
// whichever thread is running when its turn comes. Called while another Python thread already has
// the team, in a forked child, or for little work, it runs serially. An exception of a task is
// rethrown after all threads are done.
void run_tasks(std::int64_t tasks, std::int64_t elements, RangeFunction function, void* context);

inline constexpr int most_threads = 4096;  // that can be asked for

// How many threads, at most, a call on this thread uses: those of the innermost ThreadScope, else
// those that were set, else those of NORMDROP_NUM_THREADS, else what OpenMP says at this moment.
int thread_count();
void set_thread_count(int count);
bool built_with_openmp();

// While it lives, calls on this thread use so many threads; with 0 it changes nothing.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) : outer_(threads > 0 ? exchange(threads) : unchanged) {}
  ~ThreadScope() {
    if (outer_ != unchanged) exchange(outer_);
  }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  static constexpr int unchanged = -1;
  static int exchange(int threads);
  int outer_;
};

// Saves the caller's floating-point environment, sets round-to-nearest without flush-to-zero,
// and restores the caller's on destruction.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment();
  ~DefaultFloatEnvironment();
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::uint64_t saved_;
};

// Uninitialised scratch memory, aligned to 64 bytes; std::bad_alloc where there is none.
void* allocate_scratch(std::size_t bytes);
void free_scratch(void* memory);

}  // namespace normdrop::cpu

#ifdef NORMDROP_ISA
namespace normdrop::NORMDROP_ISA {

// body(task) for every task; `elements_per_task` decides between serial and parallel.
template <class Body>
static inline void parallel_for(std::int64_t tasks, std::int64_t elements_per_task, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  cpu::run_tasks(tasks, tasks * elements_per_task,
                 [](void* context, std::int64_t begin, std::int64_t end) {
    Plain& task_body = *static_cast<Plain*>(context);
    for (std::int64_t task = begin; task < end; ++task) task_body(task);
  }, const_cast<void*>(static_cast<const void*>(&body)));
}

template <class T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : data_(count > 0 ? static_cast<T*>(
                              cpu::allocate_scratch(static_cast<std::size_t>(count) * sizeof(T)))
                        : nullptr) {}
  ~Scratch() { cpu::free_scratch(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  T* data_;
};

}  // namespace normdrop::NORMDROP_ISA
#endif
