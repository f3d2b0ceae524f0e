// Work sharing, floating-point environment and scratch memory: compiled once, for the oldest
// instruction set of the build.
#include "cpu/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "cpu/team.h"
#include "cpu/tuning.h"

namespace normdrop::cpu {
namespace {

// Streaming stores of the kernels become visible to other threads only behind a fence.
void fence_streaming_stores() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

#if defined(_OPENMP)
// Also where a number of threads was set by hand; in a parallel region of somebody else's, 1.
int openmp_limit() { return omp_in_parallel() ? 1 : omp_get_thread_limit(); }

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

  static void run(void* shared_work, int thread) {
    static_cast<SharedWork*>(shared_work)->work(thread);
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

void run_tasks(std::int64_t tasks, std::int64_t elements, RangeFunction function, void* context) {
  if (tasks <= 0) return;
#if defined(_OPENMP)
  if (elements >= tuning::serial_elements && tasks > 1) {
    const std::int64_t bound = std::min(thread_count(), openmp_limit());
    const int threads = static_cast<int>(std::min(bound, tasks));
    if (threads > 1) {
      SharedWork work(tasks, threads, function, context);
      if (run_in_team(threads, elements, SharedWork::run, &work)) {
        if (work.error) std::rethrow_exception(work.error);
        return;
      }
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
