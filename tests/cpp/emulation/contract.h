// Kernels that use everything a platform offers: that they compile for both and give the known
// answers shows that both keep the contract.
#pragma once

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

// Each check of each thread adds one to `held` at its index or to `broken`; the arrays have
// `checks` numbers for each of `threads` threads.
struct ContractAnswers {
  static constexpr int checks = 18;
  static constexpr int threads = 256;
  std::int32_t held[threads][checks];
  std::int32_t broken[threads][checks];
};

inline constexpr int checks_of_threads = 11;
inline constexpr int checks_of_numbers = 17;
inline constexpr int checks_of_clusters = 3;

void run_contract_of_threads(ContractAnswers* answers, const void* sixteen_aligned_bytes,
                             void* stream);
void run_contract_of_numbers(ContractAnswers* answers, void* stream);
void run_contract_of_clusters(ContractAnswers* answers, void* stream);

}  // namespace normdrop::NORMDROP_DEVICE
