// The team of threads. Nobody is waited for who has not begun: a call is open to helpers until the
// caller has run out of work, and a thread that the system gives to others meanwhile finds it
// closed. Between calls a helper stays awake for a while, since waking one costs microseconds, but
// not where other programs want its processor.
#include "cpu/team.h"

#if defined(_OPENMP)
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/start_thread.h"
#include "cpu/tuning.h"
#include "cpu/waiting.h"

namespace normdrop::cpu {
namespace {

// What a call has to say to helpers, in one word, so that joining a call that is closed, or is
// another by now, cannot happen.
class CallState {
 public:
  explicit CallState(std::uint64_t word) : word_(word) {}
  static constexpr std::uint64_t open_mask = 0xFFFF0000u;

  std::uint64_t after(int helpers) const {  // the next call, open to helpers 1 to `helpers`
    return (word_ & ~std::uint64_t{0xFFFFFFFF}) + (std::uint64_t{1} << 32) +
           (static_cast<std::uint64_t>(helpers) << 16);
  }
  std::uint32_t call() const { return static_cast<std::uint32_t>(word_ >> 32); }
  int open_to() const { return static_cast<int>(word_ >> 16 & 0xFFFF); }
  int at_work() const { return static_cast<int>(word_ & 0xFFFF); }

 private:
  std::uint64_t word_;
};
static_assert(most_threads <= 0xFFFF);

struct alignas(64) Helper {
  explicit Helper(int number) : thread(number) {}

  bool rests() const { return Clock::now().time_since_epoch().count() < rests_until.load(); }
  void rest() {
    const auto end = Clock::now() + microseconds(tuning::rest_us);
    rests_until.store(end.time_since_epoch().count());
  }

  const int thread;
  std::atomic<bool> asleep{false};
  std::atomic<Clock::rep> rests_until{Clock::time_point::min().time_since_epoch().count()};
  std::mutex mutex;
  std::condition_variable called;
};

class Team {
 public:
  bool take() { return !taken_.exchange(true); }
  void release() { taken_.store(false); }

  void run(int threads, std::int64_t elements, ThreadFunction function, void* context) {
    start_helpers(threads - 1);
    const int helpers = std::min(threads - 1, static_cast<int>(helpers_.size()));
    const Clock::time_point start = Clock::now();
    function_ = function;
    context_ = context;
    small_ = elements < tuning::worth_waking_elements;
    rare_ = start - last_start_ > microseconds(tuning::awake_between_calls_us);
    last_start_ = start;
    threads_.store(threads);
    state_.store(CallState(state_.load()).after(helpers));
    wake_after(0, helpers);
    function(context, 0);
    const CallState closed(state_.fetch_and(~CallState::open_mask));
    if (closed.at_work() > 0) wait_for_helpers(Clock::now() - start);
  }

 private:
  bool nobody_at_work() const { return CallState(state_.load()).at_work() == 0; }

  void wait_for_helpers(Clock::duration of_call) {
    const auto done = [this] { return nobody_at_work(); };
    const Clock::duration longest = policy_.for_last_blocks(of_call);
    if (longest > Clock::duration::zero() && spin(longest, done) == SpinEnd::condition) return;
    std::unique_lock<std::mutex> lock(mutex_);
    caller_asleep_.store(true);
    finished_.wait(lock, done);
    caller_asleep_.store(false);
  }

  // Every thread that comes wakes two others, so that a call of many does not wake them all itself.
  void wake_after(int thread, int helpers) {
    for (int next = 2 * thread + 1; next <= std::min(2 * thread + 2, helpers); ++next) {
      Helper& helper = *helpers_[static_cast<std::size_t>(next - 1)];
      if (!helper.asleep.load()) continue;  // it comes by itself, and wakes its two
      if (small_ && (rare_ || helper.rests())) {
        wake_after(next, helpers);
      } else {
        {
          const std::lock_guard<std::mutex> lock(helper.mutex);
        }  // it looks, or it waits
        helper.called.notify_one();
      }
    }
  }

  void start_helpers(int wanted);
  static void* start(void* helper);

  // The life of a helper.
  [[noreturn]] void help(Helper& helper) {
    std::uint32_t seen = CallState(state_.load()).call() - 1;
    Clock::time_point awake_until = Clock::now();
    for (;;) {
      const bool woken = wait_for_call(helper, seen, awake_until);
      seen = CallState(state_.load()).call();
      const bool joined = join(helper.thread);
      if (joined) take_part(helper);
      // Woken too late for a short call, it is there for the next.
      if (joined || woken) awake_until = Clock::now() + policy_.between_calls(threads_.load());
    }
  }

  // Returns whether it slept.
  bool wait_for_call(Helper& helper, std::uint32_t seen, Clock::time_point awake_until) {
    const auto called = [&] { return CallState(state_.load()).call() != seen; };
    for (Clock::time_point now = Clock::now(); now < awake_until && !helper.rests();
         now = Clock::now()) {
      const SpinEnd end = spin(awake_until - now, called);
      if (end == SpinEnd::condition) return false;
      if (end == SpinEnd::interruption && policy_.follows_load()) helper.rest();
    }
    std::unique_lock<std::mutex> lock(helper.mutex);
    helper.asleep.store(true);
    helper.called.wait(lock, called);
    helper.asleep.store(false);
    return true;
  }

  void take_part(Helper& helper) {
    wake_after(helper.thread, CallState(state_.load()).open_to());
    function_(context_, helper.thread);
    const bool held_up = leave();
    if (held_up && policy_.follows_load()) helper.rest();
  }

  bool join(int thread) {
    std::uint64_t word = state_.load();
    do {
      if (CallState(word).open_to() < thread) return false;
    } while (!state_.compare_exchange_weak(word, word + 1));
    return true;
  }

  // Returns whether the caller fell asleep over it: this thread has hardly run, then.
  bool leave() {
    const CallState before(state_.fetch_sub(1));
    if (before.open_to() > 0 || !caller_asleep_.load()) return false;
    if (before.at_work() == 1) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
      }
      finished_.notify_one();
    }
    return true;
  }

  const WaitPolicy policy_;
  std::atomic<bool> taken_{false};
  std::vector<std::unique_ptr<Helper>> helpers_;
  // Of the call; written while it is closed and nobody is at work.
  ThreadFunction function_ = nullptr;
  void* context_ = nullptr;
  bool small_ = false;
  bool rare_ = false;
  Clock::time_point last_start_{};
  std::atomic<int> threads_{1};
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<bool> caller_asleep_{false};
  std::mutex mutex_;
  std::condition_variable finished_;
};

std::atomic<bool> forked_child{false};

struct ForkHandler {
  ForkHandler() {
    pthread_atfork(nullptr, nullptr, [] { forked_child.store(true); });
  }
} fork_handler;

// Never destroyed: its threads outlive everything.
Team& team() {
  static Team& only = *new Team;
  return only;
}

class TakenTeam {
 public:
  TakenTeam() : taken_(team().take()) {}
  ~TakenTeam() {
    if (taken_) team().release();
  }
  TakenTeam(const TakenTeam&) = delete;
  TakenTeam& operator=(const TakenTeam&) = delete;
  explicit operator bool() const { return taken_; }

 private:
  bool taken_;
};

void* Team::start(void* helper) { team().help(*static_cast<Helper*>(helper)); }

// Fewer than wanted where the system has no more.
void Team::start_helpers(int wanted) {
  while (static_cast<int>(helpers_.size()) < wanted) {
    helpers_.push_back(std::make_unique<Helper>(static_cast<int>(helpers_.size()) + 1));
    if (start_thread(helpers_.back()->thread, start, helpers_.back().get())) continue;
    helpers_.pop_back();
    return;
  }
}

}  // namespace

bool run_in_team(int threads, std::int64_t elements, ThreadFunction function, void* context) {
  if (forked_child.load()) return false;
  const TakenTeam taken;
  if (!taken) return false;
  team().run(threads, elements, function, context);
  return true;
}

}  // namespace normdrop::cpu
#endif
