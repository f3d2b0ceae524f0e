// Calls every function of every usable backend on memory that shows every stray access; see
// buffers.h for the memory, variants.h for the ways in which one call is made, and the *_cases.cpp
// of an operation for its shapes.
//
//   normdrop_driver [--quick] [--stop] [--only TEXT]... [--list]
//
// --only keeps the groups whose name holds TEXT; given several times, all of them. --stop ends after
// the first group that fails. --list prints the names and runs nothing. Exit status: 0 all passed, 1 some failed, 2 wrong usage.
#if defined(__GLIBC__) || defined(__linux__)
#include <malloc.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "harness.h"

namespace normdrop::driver {
namespace {

struct Options {
  bool list = false;
  bool quick = false;
  bool stop = false;
  std::vector<std::string> only;

  bool keeps(const std::string& name) const {
    for (const std::string& text : only) {
      if (name.find(text) == std::string::npos) return false;
    }
    return true;
  }
};

bool parse(int count, char** words, Options* options) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--list") {
      options->list = true;
    } else if (word == "--quick") {
      options->quick = true;
    } else if (word == "--stop") {
      options->stop = true;
    } else if (word == "--only" && i + 1 < count) {
      options->only.push_back(words[++i]);
    } else {
      std::fprintf(stderr, "usage: %s [--quick] [--stop] [--only TEXT]... [--list]\n", words[0]);
      return false;
    }
  }
  return true;
}

// Runs a group and prints its line.
Counts run(const Group& group, const std::string& name, const Context& context) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  begin_group(name);
  try {
    group.run(context);
  } catch (const std::bad_alloc&) {
    std::printf("%-52s skipped: this system does not give so large a sparse mapping\n",
                name.c_str());
    return counts();
  } catch (const std::exception& error) {
    fail_last_case(error.what());
  }
  const std::chrono::duration<double> seconds = Clock::now() - start;
  std::printf("%-52s %8lld passed %6lld failed %7.2f s\n", name.c_str(),
              static_cast<long long>(counts().passed), static_cast<long long>(counts().failed),
              seconds.count());
  std::fflush(stdout);
  return counts();
}

int run_all(const Options& options) {
  Counts total;
  for (const Target& target : targets()) {
    for (const Group& group : all_groups()) {
      const std::string name = group.name + "/" + target.name;
      if (!options.keeps(name) || (options.stop && total.failed > 0)) continue;
      if (options.list) {
        std::printf("%s\n", name.c_str());
        continue;
      }
      const Counts of_group = run(group, name, {target.table, target.device, options.quick});
      total.passed += of_group.passed;
      total.failed += of_group.failed;
    }
  }
  if (options.list) return 0;
  std::printf("%lld passed, %lld failed\n", static_cast<long long>(total.passed),
              static_cast<long long>(total.failed));
  return total.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace normdrop::driver

// Whatever a sanitizer reports is a failure, however the driver was compiled, and ends in a signal
// whose handler names the case.
#define NORMDROP_DEFAULT_OPTIONS extern "C" __attribute__((visibility("default"), used)) const char*
NORMDROP_DEFAULT_OPTIONS __asan_default_options() { return "abort_on_error=1"; }
NORMDROP_DEFAULT_OPTIONS __ubsan_default_options() {
  return "halt_on_error=1:abort_on_error=1:print_stacktrace=1";
}

int main(int count, char** words) {
  normdrop::driver::Options options;
  if (!normdrop::driver::parse(count, words, &options)) return 2;
#if defined(M_PERTURB)
  mallopt(M_PERTURB, 0x01);  // the kernels' own scratch memory begins as huge numbers, not as zeros
#endif
  normdrop::driver::name_case_on_fault();
  return normdrop::driver::run_all(options);
}
