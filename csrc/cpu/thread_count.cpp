// How many threads a call uses.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "cpu/parallel.h"

namespace normdrop::cpu {
namespace {

constexpr int not_looked_at = -1;  // the environment, that is
constexpr int as_openmp_has_it = 0;
std::atomic<int> chosen_threads{not_looked_at};
thread_local int scope_threads = 0;  // 0: no scope

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

// Asked at every call: other libraries limit OpenMP's threads, and lift the limit again.
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
  if (*end != '\0' || value < 1 || value > most_threads) {
    throw std::invalid_argument("NORMDROP_NUM_THREADS must be an integer from 1 to " +
                                std::to_string(most_threads) + ", got '" + text + "'");
  }
  return static_cast<int>(value);
}

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

}  // namespace normdrop::cpu
