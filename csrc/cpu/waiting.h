// How a thread waits for another: awake, for how long, and whether it noticed that it did not run.
#pragma once

#if defined(_OPENMP)
#include <omp.h>
#include <strings.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "cpu/tuning.h"

namespace normdrop::cpu {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

enum class SpinEnd { condition, time, interruption };

// Looks at the condition again and again; after a while, whoever else wants the processor may have
// it between two looks. An interruption is a time between two looks at the clock in which this
// thread cannot have run.
template <class Condition>
SpinEnd spin(Clock::duration longest, const Condition& condition) {
  constexpr auto tolerated = microseconds(tuning::interruption_us);
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  for (;;) {
    for (int look = 0; look < 64; ++look) {
      if (condition()) return SpinEnd::condition;
      pause_briefly();
    }
    const Clock::time_point now = Clock::now();
    if (now - last > tolerated) return SpinEnd::interruption;
    if (now - start > longest) return SpinEnd::time;
    last = now;
    if (now - start > tolerated) std::this_thread::yield();
  }
}

// How long threads stay awake while they wait. What OMP_WAIT_POLICY says counts whatever the load.
class WaitPolicy {
 public:
  WaitPolicy() {
    const char* text = std::getenv("OMP_WAIT_POLICY");
    if (text == nullptr) return;
    passive_ = strcasecmp(text, "passive") == 0;
    active_ = strcasecmp(text, "active") == 0;
  }

  bool follows_load() const { return !passive_ && !active_; }

  Clock::duration between_calls(int threads) const {
    if (active_) return forever;
    const bool useless = passive_ || threads > omp_get_num_procs();
    return microseconds(useless ? 0 : tuning::awake_between_calls_us);
  }

  Clock::duration for_last_blocks(Clock::duration of_call) const {
    if (active_) return forever;
    if (passive_) return Clock::duration::zero();
    return std::max<Clock::duration>(microseconds(tuning::interruption_us), of_call / 4);
  }

 private:
  static constexpr Clock::duration forever = std::chrono::hours(24 * 365);
  bool passive_ = false;
  bool active_ = false;
};

}  // namespace normdrop::cpu
#endif
