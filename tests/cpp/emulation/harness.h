// Cases of the emulation's tests. Those named right/... are correct programs, which no order and no
// sanitizer may find fault with; those named wrong/... contain one defect each, which must show.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cuda/emulation/order.h"

namespace normdrop::NORMDROP_DEVICE::tests {

struct Case {
  std::string name;
  std::function<void()> run;  // throws where something does not hold
};

// Throws std::runtime_error with `what` unless it holds.
void require(bool holds, const std::string& what);

// The text of the DeviceError that `action` throws, or nothing.
std::string error_of(const std::function<void()>& action);
void require_error(const std::function<void()>& action, const std::string& fragment);

// Calls with each of some orders set in turn; what fails tells in which.
void in_every_order(const std::function<void()>& action);
// In how many of them `holds` is false or throws DeviceError.
int orders_that_refute(const std::function<bool()>& holds);

std::vector<Case> contract_cases();
std::vector<Case> hazard_cases();
std::vector<Case> refusal_cases();
std::vector<Case> warp_cases();
std::vector<Case> grid_cases();
std::vector<Case> number_cases();
std::vector<Case> device_cases();
std::vector<Case> stream_cases();

}  // namespace normdrop::NORMDROP_DEVICE::tests
