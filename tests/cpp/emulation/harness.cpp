#include "harness.h"

#include <stdexcept>

#include "ops/device.h"

namespace normdrop::NORMDROP_DEVICE::tests {
namespace {

using emulation::parse_order;
using emulation::set_order;

const std::vector<std::string> order_names = {"forward",    "reverse",    "priority:1",
                                              "priority:2", "priority:3", "priority:4",
                                              "priority:5", "priority:6"};

}  // namespace

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

void require_error(const std::function<void()>& action, const std::string& fragment) {
  const std::string text = error_of(action);
  require(text.find(fragment) != std::string::npos,
          "expected an error with '" + fragment + "', got '" + text + "'");
}

void in_every_order(const std::function<void()>& action) {
  for (const std::string& name : order_names) {
    set_order(parse_order(name));
    try {
      action();
    } catch (const std::exception& error) {
      throw std::runtime_error("in order " + name + ": " + error.what());
    }
  }
}

int orders_that_refute(const std::function<bool()>& holds) {
  int refuted = 0;
  for (const std::string& name : order_names) {
    set_order(parse_order(name));
    bool held = true;
    const std::string error = error_of([&] { held = holds(); });
    if (!held || !error.empty()) ++refuted;
  }
  return refuted;
}

}  // namespace normdrop::NORMDROP_DEVICE::tests
