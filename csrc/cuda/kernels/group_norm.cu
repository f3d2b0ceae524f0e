// Group norm (Wu, He 2018) and instance norm of x (batch, before, channels, after):
//   y = (x - mean) * inv_std * weight + bias,   inv_std = 1 / sqrt(var + eps)
// with a mean and a variance for every batch index and group of channels, a weight and a bias for
// every channel. Where before is 1 a set is a row: on chip, it is read once. Others go through
// memory.
#include "cuda/engines/fill.cuh"
#include "cuda/engines/groups.cuh"
#include "cuda/engines/rows.cuh"
#include "cuda/kernels/kernels.h"
#include "ops/group_norm.h"

namespace normdrop::NORMDROP_DEVICE {
namespace {

template <class T>
class Forward {
 public:
  explicit Forward(const GroupNormForward& a)
      : a_(a),
        shape_(a),
        arrays_{.x = static_cast<const T*>(a.x),
                .y = static_cast<T*>(a.y),
                .weight = parameter_of<T>(a.weight, a.parameter_dtype),
                .bias = parameter_of<T>(a.bias, a.parameter_dtype),
                .measure = {.eps = a.eps},
                .statistics = {.mean = a.mean, .inv_std = a.inv_std},
                .stream = a.stream} {}

  void run() const {
    const ChunkSpread spread = spread_of_row<T>(shape_.run_length());
    shape_.before == 1 && spread.blocks > 0 ? rows(spread) : through_memory();
  }

 private:
  void rows(const ChunkSpread& spread) const {
    constexpr int unit = vector_elements<T>;
    const std::int64_t length = shape_.run_length();
    const Quotient together(shape_.groups);
    const NormaliseRows<T, FromArray<T>, ParametersOfChannels<T>> arguments{
        .prologue = {arrays_.x, {together, a_.x_batch_stride, length}},
        .y = arrays_.y,
        .parameters = {arrays_.weight, arrays_.bias, Quotient(shape_.after), together,
                       shape_.channels_of_set()},
        .rows = shape_.sets(),
        .length = length,
        .divisor = Divisor(shape_.count()),
        .y_rows = {together, a_.y_batch_stride, length},
        .eps = a_.eps,
        .statistics = arrays_.statistics};
    const bool in_vectors = length % unit == 0 &&
                            packs_lie_aligned<T>(a_.x, a_.x_batch_stride, unit) &&
                            packs_lie_aligned<T>(a_.y, a_.y_batch_stride, unit);
    for_either(in_vectors, [&](auto aligned) {
      launch_rows<MeanAndVariance, aligned.is>(arguments, spread, a_.stream);
    });
  }

  void through_memory() const {
    const RunsInArray sets{.sets = shape_.sets(),
                           .runs = shape_.before,
                           .length = shape_.run_length(),
                           .x_map = shape_.sets_in(a_.x_batch_stride),
                           .shape = {},
                           .x_outer_stride = 0,
                           .y_outer_stride = 0,
                           .normaliser_map = {},
                           .parameter_map = {}};
    const RunPlan plan = plan_runs<T>(sets.sets, sets.runs, sets.length);
    const auto [slots, normalisers] =
        scratch<Moments, Normaliser>(a_.stream, plan.sets * plan.chunks, plan.sets);
    normalisers_of_runs(arrays_, sets, slots, normalisers);
    if (shape_.after == 1) return write_columns(normalisers);
    if (shape_.before == 1) return write_rows(arrays_, shape_.batch, shape_.groups, normalisers);
    for (std::int64_t n = 0; n < shape_.batch; ++n) {
      ForwardArrays<T> of_batch = arrays_;
      of_batch.x += n * a_.x_batch_stride;
      of_batch.y += n * a_.y_batch_stride;
      write_rows(of_batch, shape_.before, 0, normalisers + n * shape_.groups);
    }
  }

  // (outer, channels, after), with normalisers `step` apart.
  void write_rows(const ForwardArrays<T>& arrays, std::int64_t outer, std::int64_t step,
                  const Normaliser* normalisers) const {
    const bool batches = shape_.before == 1;
    apply_to_runs<true>(arrays,
                        {.sets = 0,
                         .runs = 0,
                         .length = 0,
                         .x_map = {},
                         .shape = {outer, shape_.channels, shape_.after},
                         .x_outer_stride = batches ? a_.x_batch_stride : shape_.row_length(),
                         .y_outer_stride = batches ? a_.y_batch_stride : shape_.row_length(),
                         .normaliser_map = {.first = step, .second = 1},
                         .parameter_map = {.second = 1},
                         .middle_together = shape_.channels_of_set()},
                        normalisers);
  }

  void write_columns(const Normaliser* normalisers) const {
    apply_to_columns<true>(arrays_,
                           {.outer = shape_.batch,
                            .rows = shape_.before,
                            .columns = shape_.channels,
                            .x_map = shape_.columns_in(a_.x_batch_stride),
                            .y_map = shape_.columns_in(a_.y_batch_stride),
                            .parameter_map = {.third = 1},
                            .columns_together = shape_.channels_of_set()},
                           normalisers);
  }

  const GroupNormForward& a_;
  GroupShape shape_;
  ForwardArrays<T> arrays_;
};

}  // namespace

void group_norm_forward(const GroupNormForward& a) {
  if (a.batch * a.groups == 0) return;
  if (GroupShape(a).empty()) {
    const std::int64_t bytes = a.batch * a.groups * bytes_of(DType::float64);
    fill_bytes(a.mean, byte_of_nan, bytes, a.stream);
    fill_bytes(a.inv_std, byte_of_nan, bytes, a.stream);
    return;
  }
  const auto lock = scratch_is_ours();
  for_dtype(a.dtype, [&](auto element) { Forward<decltype(element)>(a).run(); });
}

void instance_norm_forward(const InstanceNormForward& a) { group_norm_forward(a); }

}  // namespace normdrop::NORMDROP_DEVICE
