// normdrop_emulation_tests [--list] [PREFIX...]: the cases whose names begin with one of the
// prefixes, or all of them.
#include <cstdio>
#include <string>
#include <vector>

#include "harness.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (auto* cases : {contract_cases, hazard_cases, refusal_cases, warp_cases, grid_cases,
                      number_cases, device_cases, stream_cases}) {
    for (Case& one : cases()) all.push_back(std::move(one));
  }
  return all;
}

bool chosen(const std::string& name, const std::vector<std::string>& prefixes) {
  for (const std::string& prefix : prefixes) {
    if (name.starts_with(prefix)) return true;
  }
  return prefixes.empty();
}

bool passes(const Case& one) {
  try {
    one.run();
    return true;
  } catch (const std::exception& error) {
    std::printf("%s: %s\n", one.name.c_str(), error.what());
    return false;
  }
}

int run(bool list, const std::vector<std::string>& prefixes) {
  int passed = 0;
  int failed = 0;
  for (const Case& one : all_cases()) {
    if (!chosen(one.name, prefixes)) continue;
    if (list) {
      std::printf("%s\n", one.name.c_str());
    } else {
      ++(passes(one) ? passed : failed);
    }
  }
  if (list) return 0;
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace normdrop::NORMDROP_DEVICE::tests

int main(int count, char** words) {
  bool list = false;
  std::vector<std::string> prefixes;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--list") {
      list = true;
    } else if (word.starts_with("--")) {
      std::fprintf(stderr, "usage: %s [--list] [PREFIX...]\n", words[0]);
      return 2;
    } else {
      prefixes.push_back(word);
    }
  }
  return normdrop::NORMDROP_DEVICE::tests::run(list, prefixes);
}
