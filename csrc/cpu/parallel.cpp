// Threads, floating-point environment and scratch memory: compiled once, for the oldest
// instruction set of the build.
#include "cpu/parallel.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "cpu/tuning.h"

namespace normdrop::cpu {
namespace {

constexpr int not_looked_at = -1;  // the environment, that is
constexpr int as_openmp_has_it = 0;
std::atomic<int> chosen_threads{not_looked_at};
thread_local int scope_threads = 0;  // 0: no scope
std::atomic<bool> team_is_taken{false};
std::atomic<bool> forked_child{false};  // libgomp's team does not survive a fork

[[maybe_unused]] int cgroup_quota() {
  // "max 100000" or "<quota> <period>"; no file, no limit.
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (file == nullptr) return 1 << 20;
  long long quota = 0;
  long long period = 0;
  const int found = std::fscanf(file, "%lld %lld", &quota, &period);
  std::fclose(file);
  if (found != 2 || quota <= 0 || period <= 0) return 1 << 20;
  return static_cast<int>(std::max<long long>(1, (quota + period - 1) / period));
}

// Asked at every call: other libraries limit OpenMP's threads for a while, and lift the limit again.
int openmp_threads() {
#if defined(_OPENMP)
  static const int quota = std::getenv("OMP_NUM_THREADS") ? 1 << 20 : cgroup_quota();
  return std::min(omp_get_max_threads(), quota);
#else
  return 1;
#endif
}

int threads_from_environment() {
  const char* text = std::getenv("NORMDROP_NUM_THREADS");
  if (text == nullptr || *text == '\0') return as_openmp_has_it;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 1 || value > 4096) {
    throw std::invalid_argument(
        std::string("NORMDROP_NUM_THREADS must be an integer from 1 to 4096, got '") + text + "'");
  }
  return static_cast<int>(value);
}

struct ForkHandler {
  ForkHandler() {
    pthread_atfork(nullptr, nullptr, [] {
      forked_child.store(true);
      team_is_taken.store(false);
    });
  }
} fork_handler;

class Team {
 public:
  Team() : taken_(!team_is_taken.exchange(true)) {}
  ~Team() {
    if (taken_) team_is_taken.store(false);
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  bool taken() const { return taken_; }

 private:
  bool taken_;
};

// Streaming stores of the kernels become visible to other threads only behind a fence.
void fence_streaming_stores() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

#if defined(_OPENMP)
// Tasks are cut into one range per thread and each range into blocks. A thread takes the blocks of
// its own range first, so that a repeated call finds its data in the same core's cache, and then
// helps with the others', so that a busy core holds nobody up.
struct SharedWork {
  static constexpr int most_ranges = 64;
  struct alignas(64) Range {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  SharedWork(std::int64_t tasks, int threads, RangeFunction range_function, void* range_context)
      : ranges(std::min(threads, most_ranges)),
        block(std::max<std::int64_t>(1, tasks / (ranges * tuning::blocks_per_thread))),
        function(range_function),
        context(range_context) {
    for (int r = 0; r < ranges; ++r) {
      range[r].next.store(tasks * r / ranges, std::memory_order_relaxed);
      range[r].end = tasks * (r + 1) / ranges;
    }
  }

  void work(int thread) {
    const DefaultFloatEnvironment environment;
    try {
      for (int k = 0; k < ranges; ++k) take_blocks(range[(thread + k) % ranges]);
      fence_streaming_stores();
    } catch (...) {
      failed.store(true);
      const std::lock_guard<std::mutex> lock(error_mutex);
      if (!error) error = std::current_exception();
    }
  }

  void take_blocks(Range& from) {
    while (!failed.load(std::memory_order_relaxed)) {
      const std::int64_t begin = from.next.fetch_add(block, std::memory_order_relaxed);
      if (begin >= from.end) return;
      function(context, begin, std::min(from.end, begin + block));
    }
  }

  int ranges;
  std::int64_t block;
  RangeFunction function;
  void* context;
  Range range[most_ranges];
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_mutex;
};
#endif

}  // namespace

int thread_count() {
  if (scope_threads > 0) return scope_threads;
  int count = chosen_threads.load();
  if (count == not_looked_at) {
    count = threads_from_environment();
    chosen_threads.store(count);
  }
  return count == as_openmp_has_it ? openmp_threads() : count;
}

void set_thread_count(int count) { chosen_threads.store(count); }

int ThreadScope::exchange(int threads) { return std::exchange(scope_threads, threads); }

bool built_with_openmp() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

void run_tasks(std::int64_t tasks, std::int64_t elements, RangeFunction function, void* context) {
  if (tasks <= 0) return;
#if defined(_OPENMP)
  if (elements >= tuning::serial_elements && tasks > 1 && !forked_child.load()) {
    const int threads = static_cast<int>(std::min<std::int64_t>(thread_count(), tasks));
    const Team team;
    if (threads > 1 && team.taken()) {
      SharedWork work(tasks, threads, function, context);
#pragma omp parallel num_threads(threads)
      work.work(omp_get_thread_num());
      if (work.error) std::rethrow_exception(work.error);
      return;
    }
  }
#else
  static_cast<void>(elements);
#endif
  function(context, 0, tasks);
  fence_streaming_stores();
}

#if defined(__SSE2__)
// 0x1F80: all exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero.
DefaultFloatEnvironment::DefaultFloatEnvironment() : saved_(_mm_getcsr()) {
  if (saved_ != 0x1F80u) _mm_setcsr(0x1F80u);
}
DefaultFloatEnvironment::~DefaultFloatEnvironment() { _mm_setcsr(static_cast<unsigned>(saved_)); }
#elif defined(__aarch64__)
DefaultFloatEnvironment::DefaultFloatEnvironment() {
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  const std::uint64_t plain = 0;
  if (saved_ != plain) asm volatile("msr fpcr, %0" : : "r"(plain));
}
DefaultFloatEnvironment::~DefaultFloatEnvironment() {
  asm volatile("msr fpcr, %0" : : "r"(saved_));
}
#else
DefaultFloatEnvironment::DefaultFloatEnvironment() : saved_(0) {}
DefaultFloatEnvironment::~DefaultFloatEnvironment() = default;
#endif

void* allocate_scratch(std::size_t bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, std::max<std::size_t>(bytes, 64)) != 0) throw std::bad_alloc();
  return memory;
}

void free_scratch(void* memory) { std::free(memory); }

}  // namespace normdrop::cpu
