// The update of running statistics by any number of blocks.
#include "cuda/groups.h"
#include "running_stats_calls.h"

namespace normdrop::driver {
namespace {

using namespace running_stats;

template <class M, class V>
void run_channels(const Context& context) {
  Memory memory;
  for (const std::int64_t channels : {0, 1, 3, 255, 256, 257, 1000}) {
    for (const Variant& v : few_variants(8, 0, false)) run<M, V>(context, memory, channels, v);
  }
}

}  // namespace

std::vector<Group> running_stats_groups() {
  return {
      {"update_running_stats/channels/float32", run_channels<float, float>},
      {"update_running_stats/channels/float64", run_channels<double, double>},
      {"update_running_stats/channels/float32-float64", run_channels<float, double>},
  };
}

}  // namespace normdrop::driver
