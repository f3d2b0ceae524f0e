// The operations of the CUDA backend, as backend.cu puts them into its table.
#pragma once

#include "ops/device.h"
#include "ops/op_table.h"

namespace normdrop::NORMDROP_DEVICE {

void layer_norm_forward(const LayerNormForward& arguments);
void layer_norm_backward(const LayerNormBackward& arguments);
void batch_norm_forward(const BatchNormForward& arguments);
void batch_norm_inference(const BatchNormInference& arguments);
void batch_norm_backward(const BatchNormBackward& arguments);
void update_running_stats(const RunningStatsUpdate& arguments);
void dropout(const Dropout& arguments);
void dropout_keep(const DropoutKeep& arguments);
void copy(const Copy& arguments);
void strided_copy(const StridedCopy& arguments);

}  // namespace normdrop::NORMDROP_DEVICE
