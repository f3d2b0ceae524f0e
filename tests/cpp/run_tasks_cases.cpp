// Sharing of work among threads: every task runs once, on no more threads than were asked for,
// whoever else calls meanwhile and however late a thread comes; an exception of a task reaches the
// caller, once nobody works any more, and the next call has the threads again.
#include <algorithm>
#include <atomic>
#include <mutex>
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

// Tasks that note who runs them. They end once `wanted` threads have come, so these must come.
struct Meeting {
  int wanted;
  std::mutex mutex;
  std::vector<std::thread::id> seen;
  std::atomic<int> come{0};

  static void run(void* context, std::int64_t begin, std::int64_t end) {
    Meeting& meeting = *static_cast<Meeting*>(context);
    for (std::int64_t task = begin; task < end; ++task) meeting.note();
    while (meeting.come < meeting.wanted) std::this_thread::yield();
    for (int i = 0; i < 20; ++i) std::this_thread::yield();  // for one too many
  }

  void note() {
    const std::lock_guard<std::mutex> lock(mutex);
    const std::thread::id me = std::this_thread::get_id();
    if (std::find(seen.begin(), seen.end(), me) != seen.end()) return;
    seen.push_back(me);
    ++come;
  }
};

void run_bound(const Context&) {
  for (const int threads : {2, 7, 3, 1, 5}) {  // fewer, after there were more, too
    for (int repeat = 0; repeat < 100; ++repeat) {
      Case c("%d threads, repeat %d", threads, repeat);
      cpu::set_thread_count(threads);
      Meeting meeting{cpu::built_with_openmp() ? threads : 1, {}, {}};
      cpu::run_tasks(1000, elements, Meeting::run, &meeting);
      if (meeting.come != meeting.wanted) c.fail("%d threads came", meeting.come.load());
    }
  }
}

// Every task adds its number. The sum lies on the caller's stack, where a late thread would find the
// next call's, or none.
bool sum_is_right(std::int64_t count, std::int64_t work) {
  std::atomic<std::int64_t> sum{0};
  cpu::run_tasks(count, work, [](void* context, std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      *static_cast<std::atomic<std::int64_t>*>(context) += task + 1;
    }
  }, &sum);
  return sum == count * (count + 1) / 2;
}

void run_short_calls(const Context& context) {
  for (const int threads : {2, 4}) {
    cpu::set_thread_count(threads);
    for (const std::int64_t work : {cpu::tuning::serial_elements, elements}) {
      Case c("%d threads, %lld elements", threads, static_cast<long long>(work));
      for (int call = 0; call < (context.quick ? 2000 : 20000); ++call) {
        if (!sum_is_right(2 + call % 50, work)) c.fail("call %d ran other tasks", call);
      }
    }
  }
}

void run_many_callers(const Context& context) {
  Case c("6 callers at once");
  cpu::set_thread_count(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&wrong, &context] {
      for (int call = 0; call < (context.quick ? 500 : 5000); ++call) {
        wrong += sum_is_right(2 + call % 50, elements) ? 0 : 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  if (wrong > 0) c.fail("%d calls ran other tasks", wrong.load());
}

void run_nested(const Context&) {
  Case c("a call within each task");
  cpu::set_thread_count(3);
  std::atomic<int> wrong{0};
  cpu::run_tasks(100, elements, [](void* count, std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      *static_cast<std::atomic<int>*>(count) += sum_is_right(10, elements) ? 0 : 1;
    }
  }, &wrong);
  if (wrong > 0) c.fail("%d inner calls ran other tasks", wrong.load());
}

}  // namespace

std::vector<Group> run_tasks_groups() {
  return {{"run_tasks/exceptions/tasks", run_exceptions},
          {"run_tasks/bound/tasks", run_bound},
          {"run_tasks/short/tasks", run_short_calls},
          {"run_tasks/callers/tasks", run_many_callers},
          {"run_tasks/nested/tasks", run_nested}};
}

}  // namespace normdrop::driver
