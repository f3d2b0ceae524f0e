// Group norm's view of x (batch, before, channels, after): a set for every batch index and group of
// neighbouring channels, of `before` runs.
#pragma once

#include <cstdint>

#include "cuda/engines/chunks.cuh"

namespace normdrop::NORMDROP_DEVICE {

struct GroupShape {
  std::int64_t batch;
  std::int64_t before;
  std::int64_t channels;
  std::int64_t after;
  std::int64_t groups;

  template <class Arguments>
  explicit GroupShape(const Arguments& a)
      : batch(a.batch), before(a.before), channels(a.channels), after(a.after), groups(a.groups) {}

  bool empty() const { return batch * before * channels * after == 0; }
  std::int64_t sets() const { return batch * groups; }
  std::int64_t channels_of_set() const { return channels / groups; }
  std::int64_t run_length() const { return channels_of_set() * after; }
  std::int64_t row_length() const { return channels * after; }  // of one index of before
  double count() const { return static_cast<double>(before) * static_cast<double>(run_length()); }

  // (set, before, element of the run)
  IndexMap sets_in(std::int64_t batch_stride) const {
    return {.first = batch_stride,
            .second = row_length(),
            .third = 1,
            .together = groups,
            .step = run_length()};
  }
  // (batch index and channel, before, after)
  IndexMap channels_in(std::int64_t batch_stride) const {
    return {.first = batch_stride,
            .second = row_length(),
            .third = 1,
            .together = channels,
            .step = after};
  }
  // (batch, before, channel), where after is 1
  IndexMap columns_in(std::int64_t batch_stride) const {
    return {.first = batch_stride, .second = channels, .third = 1};
  }
};

}  // namespace normdrop::NORMDROP_DEVICE
