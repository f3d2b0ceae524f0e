// Kernels that use everything a platform offers, so that compiling them for both shows that both
// keep the contract; and what one run of them found.
#pragma once

#include <cstdint>

namespace normdrop::NORMDROP_DEVICE {

inline constexpr int contract_checks = 20;

// Each writes one flag per check, not 0 where it holds.
void run_contract_of_threads(std::int32_t* flags, const void* sixteen_aligned_bytes, void* stream);
void run_contract_of_numbers(std::int32_t* flags, void* stream);
void run_contract_of_clusters(std::int32_t* flags, void* stream);

}  // namespace normdrop::NORMDROP_DEVICE
