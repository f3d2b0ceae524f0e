// Sharing of work among threads: an exception of a task reaches the caller, once nobody works any
// more, and the next call has the threads again.
#include <atomic>
#include <new>
#include <stdexcept>
#include <thread>

#include "cpu/parallel.h"
#include "cpu/tuning.h"
#include "harness.h"

namespace normdrop::driver {
namespace {

constexpr std::int64_t elements = 64 * cpu::tuning::serial_elements;
constexpr std::int64_t nobody = -1;
constexpr std::int64_t everybody = -2;

// Tasks of which one, or each, throws. Where it is the first, the others are still at work then.
struct Tasks {
  std::int64_t count;
  std::int64_t thrower;
  bool out_of_memory;  // the exception: std::bad_alloc, or one with a text
  std::vector<std::atomic<int>> runs = std::vector<std::atomic<int>>(count);
  std::atomic<int> calls{0};
  std::atomic<int> at_work{0};
  std::atomic<bool> thrown{false};

  static void run(void* context, std::int64_t begin, std::int64_t end) {
    static_cast<Tasks*>(context)->run_range(begin, end);
  }

  void run_range(std::int64_t begin, std::int64_t end) {
    ++calls;
    for (std::int64_t task = begin; task < end; ++task) {
      if (thrower == everybody || task == thrower) fail();
      ++at_work;
      if (thrower == 0) linger();
      ++runs[static_cast<std::size_t>(task)];
      --at_work;
    }
  }

  [[noreturn]] void fail() {
    thrown = true;
    if (out_of_memory) throw std::bad_alloc();
    throw std::runtime_error("of a task");
  }

  void linger() const {
    while (!thrown) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  }
};

void expect_exception(Case& c, Tasks& tasks) {
  std::string caught = "nothing";
  try {
    cpu::run_tasks(tasks.count, elements, Tasks::run, &tasks);
  } catch (const std::bad_alloc&) {
    caught = "std::bad_alloc";
  } catch (const std::runtime_error& error) {
    caught = error.what();
  }
  const std::string expected = tasks.out_of_memory ? "std::bad_alloc" : "of a task";
  if (caught != expected) c.fail("caught %s, not %s", caught.c_str(), expected.c_str());
  if (tasks.at_work != 0) c.fail("%d tasks were still at work", tasks.at_work.load());
}

void expect_threads(Case& c, std::int64_t count, int threads) {
  Tasks tasks{count, nobody, false};
  cpu::run_tasks(count, elements, Tasks::run, &tasks);
  for (std::int64_t task = 0; task < count; ++task) {
    const int runs = tasks.runs[static_cast<std::size_t>(task)];
    if (runs != 1) c.fail("afterwards task %lld ran %d times", static_cast<long long>(task), runs);
  }
  const bool shared = tasks.calls > 1;  // one thread alone gets all tasks in one call
  if (shared != (threads > 1 && cpu::built_with_openmp())) {
    c.fail("afterwards %d calls on %d threads", tasks.calls.load(), threads);
  }
}

void run_exceptions(const Context&) {
  for (const int threads : {1, 2, 3, 7}) {
    cpu::set_thread_count(threads);
    for (const std::int64_t count : {2, 7, 1000}) {
      for (const std::int64_t thrower : {std::int64_t{0}, count / 2, count - 1, everybody}) {
        for (const bool out_of_memory : {false, true}) {
          Case c("task %lld of %lld throws, %d threads, %d", static_cast<long long>(thrower),
                 static_cast<long long>(count), threads, out_of_memory);
          Tasks tasks{count, thrower, out_of_memory};
          expect_exception(c, tasks);
          expect_threads(c, count, threads);
        }
      }
    }
  }
}

}  // namespace

std::vector<Group> run_tasks_groups() { return {{"run_tasks/exceptions/tasks", run_exceptions}}; }

}  // namespace normdrop::driver
