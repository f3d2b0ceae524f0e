// One backend: a function for every operation. Adding a backend is filling one of these.
#pragma once

#include "ops/batch_norm.h"
#include "ops/copy.h"
#include "ops/dropout.h"
#include "ops/layer_norm.h"

namespace normdrop {

struct OpTable {
  void (*layer_norm_forward)(const LayerNormForward&);
  void (*layer_norm_backward)(const LayerNormBackward&);
  void (*batch_norm_forward)(const BatchNormForward&);
  void (*batch_norm_inference)(const BatchNormInference&);
  void (*batch_norm_backward)(const BatchNormBackward&);
  void (*update_running_stats)(const RunningStatsUpdate&);
  void (*dropout)(const Dropout&);
  void (*dropout_keep)(const DropoutKeep&);
  void (*copy)(const Copy&);
};

}  // namespace normdrop
