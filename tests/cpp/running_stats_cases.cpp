// The update of running statistics: every short number of channels at every offset.
#include "running_stats_calls.h"

namespace normdrop::driver {
namespace {

using namespace running_stats;

template <class M, class V>
void run_short(const Context& context) {
  Memory memory;
  Variants variants(8, 0);
  const std::vector<Variant> every = variants.every();
  for (std::int64_t channels = 0; channels <= 67; ++channels) {
    for (const Variant& v : context.quick ? variants.some(1, 1) : every) {
      run<M, V>(context, memory, channels, v);
    }
  }
}

}  // namespace

std::vector<Group> running_stats_groups() {
  return {
      {"update_running_stats/short/float32", run_short<float, float>},
      {"update_running_stats/short/float64", run_short<double, double>},
  };
}

}  // namespace normdrop::driver
