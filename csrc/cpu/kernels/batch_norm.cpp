// Forward of batch norm (Ioffe, Szegedy 2015) of x (batch, channels, inner), one mean and var per
// channel.
//   y = (x - mean) * inv_std * weight + bias
// inner > 1 (NCHW): a channel at a time, its output written while it is in cache; chunks of
//   channels are tasks where channels are few (engines/channels.h). inner == 1 (NHWC, 2-D): column
//   reductions over fixed slots of rows, then rows of channels (engines/columns.h).
#include "cpu/engines/batch_norm.h"
#include "cpu/kernels/kernels.h"

namespace normdrop::NORMDROP_ISA {
namespace {

template <class T>
struct Channels : ChannelStatistics<T, BatchNormForward> {
  LineOutput<T> output;
  explicit Channels(const BatchNormForward& arguments)
      : ChannelStatistics<T, BatchNormForward>(arguments), output(line_output<T>(arguments)) {}

  void write(std::int64_t channel, const Part<T>& part, const Normaliser& n) const {
    write_lines<true>(part, n, output.at(channel * this->length, channel));
  }
};

template <class T>
void forward_columns(const BatchNormForward& a) {
  const ChannelStatistics<T, BatchNormForward> channels(a);
  Scratch<Moments> moments(a.channels);
  column_parts_in_slots(channel_block<T>(a), moments.data());
  write_columns<true>(channel_block<T>(a), column_output<T>(a), [&](std::int64_t channel) {
    return channels.finish(channel, moments[channel]);
  });
}

}  // namespace

void batch_norm_forward(const BatchNormForward& arguments) {
  with_wide_parameters(arguments, arguments.channels, [](const BatchNormForward& a) {
    for_dtype(a.dtype, [&](auto element) {
      using T = decltype(element);
      a.inner == 1 ? forward_columns<T>(a) : forward_sets<T>(Channels<T>(a));
    });
  });
}

}  // namespace normdrop::NORMDROP_ISA
