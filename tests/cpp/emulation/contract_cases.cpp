#include <memory>

#include "contract.h"
#include "harness.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

alignas(16) constexpr unsigned char sixteen_bytes[16] = {3,  1,  4, 15, 9,  2,  65, 35,
                                                         89, 79, 3, 23, 84, 62, 64, 33};

// Each of `threads` threads must have made each check once, and found that it holds.
void check_answers(const ContractAnswers& answers, int threads, int checks) {
  for (int thread = 0; thread < threads; ++thread) {
    for (int i = 0; i < checks; ++i) {
      require(answers.held[thread][i] == 1 && answers.broken[thread][i] == 0,
              "check " + std::to_string(i) + " of thread " + std::to_string(thread) + " held " +
                  std::to_string(answers.held[thread][i]) + " times");
    }
  }
}

void of_threads() {
  const auto answers = std::make_unique<ContractAnswers>();
  run_contract_of_threads(answers.get(), sixteen_bytes, nullptr);
  check_answers(*answers, 3 * 64, checks_of_threads);
}

void of_numbers() {
  const auto answers = std::make_unique<ContractAnswers>();
  run_contract_of_numbers(answers.get(), nullptr);
  check_answers(*answers, 1, checks_of_numbers);
}

void of_clusters() {
  const auto answers = std::make_unique<ContractAnswers>();
  run_contract_of_clusters(answers.get(), nullptr);
  check_answers(*answers, 4 * 64, checks_of_clusters);
}

}  // namespace

std::vector<Case> contract_cases() {
  return {{"right/contract/threads", [] { in_every_order(of_threads); }},
          {"right/contract/numbers", [] { in_every_order(of_numbers); }},
          {"right/contract/clusters", [] { in_every_order(of_clusters); }}};
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
