// Running statistics of batch norm (Ioffe and Szegedy 2015), in place, one channel after another:
//   running = (1 - momentum) * running + momentum * batch
// in double, rounded once to the dtype of the running statistic. A few thousand values: one thread.
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
void update(void* running, const double* batch, double factor, double momentum,
            std::int64_t channels) {
  T* target = static_cast<T*>(running);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double before = static_cast<double>(target[c]);
    const double after = (1.0 - momentum) * before + momentum * (batch[c] * factor);
    target[c] = static_cast<T>(after);
  }
}

}  // namespace

void update_running_stats(const RunningStatsUpdate& a) {
  const auto mean = a.mean_dtype == DType::float32 ? update<float> : update<double>;
  const auto var = a.var_dtype == DType::float32 ? update<float> : update<double>;
  mean(a.running_mean, a.mean, 1.0, a.momentum, a.channels);
  var(a.running_var, a.var, a.var_factor, a.momentum, a.channels);
}

}  // namespace normdrop::NORMDROP_ISA
