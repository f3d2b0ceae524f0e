// The driver of the CPU: every instruction set of this build that runs here.
#include "cpu/parallel.h"
#include "harness.h"
#include "registry.h"

namespace normdrop::driver {

std::vector<Target> targets() {
  std::vector<Target> all;
  for (const Backend& backend : built_backends()) {
    if (backend.device != nullptr || !backend.usable()) continue;
    all.push_back({backend.name, *backend.table, nullptr});
  }
  return all;
}

std::vector<Group> all_groups() {
  std::vector<Group> all;
  for (const auto& groups : {layer_norm_groups(), batch_norm_groups(), running_stats_groups(),
                             dropout_groups(), copy_groups(), run_tasks_groups()}) {
    all.insert(all.end(), groups.begin(), groups.end());
  }
  return all;
}

void set_host_threads(int threads) { cpu::set_thread_count(threads); }

}  // namespace normdrop::driver
