// The one list of operations: every table of functions, the declarations of every backend's kernels
// and the names that Python sees are expanded from it. A kernel that is missing is a link error.
#pragma once

#include "ops/batch_norm.h"
#include "ops/copy.h"
#include "ops/dropout.h"
#include "ops/dropout_add_norm.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/prelu.h"
#include "ops/rms_norm.h"
#include "ops/weight_norm.h"

// X(name of the function, its arguments)
#define NORMDROP_OPERATIONS(X)                                    \
  X(layer_norm_forward, LayerNormForward)                         \
  X(layer_norm_backward, LayerNormBackward)                       \
  X(rms_norm_forward, RmsNormForward)                             \
  X(rms_norm_backward, RmsNormBackward)                           \
  X(dropout_add_layer_norm_forward, DropoutAddLayerNormForward)   \
  X(dropout_add_layer_norm_backward, DropoutAddLayerNormBackward) \
  X(dropout_add_rms_norm_forward, DropoutAddRmsNormForward)       \
  X(dropout_add_rms_norm_backward, DropoutAddRmsNormBackward)     \
  X(group_norm_forward, GroupNormForward)                         \
  X(group_norm_backward, GroupNormBackward)                       \
  X(instance_norm_forward, InstanceNormForward)                   \
  X(instance_norm_backward, InstanceNormBackward)                 \
  X(batch_norm_forward, BatchNormForward)                         \
  X(batch_norm_inference, BatchNormInference)                     \
  X(batch_norm_backward, BatchNormBackward)                       \
  X(batch_stats, BatchStatistics)                                 \
  X(batch_norm_apply, BatchNormApply)                             \
  X(batch_norm_gradient_sums, BatchNormGradientSums)              \
  X(batch_norm_backward_apply, BatchNormBackwardApply)            \
  X(update_running_stats, RunningStatsUpdate)                     \
  X(weight_norm_forward, WeightNormForward)                       \
  X(weight_norm_backward, WeightNormBackward)                     \
  X(prelu_forward, PreluForward)                                  \
  X(prelu_backward, PreluBackward)                                \
  X(dropout, Dropout)                                             \
  X(dropout_keep, DropoutKeep)                                    \
  X(copy, Copy)

namespace normdrop {

// One backend: a function for every operation. Adding a backend is filling one of these.
struct OpTable {
#define NORMDROP_MEMBER(name, Arguments) void (*name)(const Arguments&);
  NORMDROP_OPERATIONS(NORMDROP_MEMBER)
#undef NORMDROP_MEMBER
};

}  // namespace normdrop

// In the namespace of a backend: its kernels, and its table of them.
#define NORMDROP_DECLARE_KERNEL(name, Arguments) void name(const Arguments& arguments);
#define NORMDROP_TABLE_ENTRY(name, Arguments) .name = name,
