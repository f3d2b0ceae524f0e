// Operations that the CUDA backend lacks: they say so.
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {

#define NORMDROP_NOT_YET(name, Arguments)                                             \
  void name(const Arguments&) {                                                       \
    throw DeviceError(#name " is not in the CUDA backend yet; pass a numpy.ndarray"); \
  }
NORMDROP_NOT_YET(rms_norm_forward, RmsNormForward)
NORMDROP_NOT_YET(rms_norm_backward, RmsNormBackward)
NORMDROP_NOT_YET(batch_stats, BatchStatistics)
NORMDROP_NOT_YET(batch_norm_apply, BatchNormApply)
NORMDROP_NOT_YET(batch_norm_gradient_sums, BatchNormGradientSums)
NORMDROP_NOT_YET(batch_norm_backward_apply, BatchNormBackwardApply)
NORMDROP_NOT_YET(group_norm_forward, GroupNormForward)
NORMDROP_NOT_YET(group_norm_backward, GroupNormBackward)
NORMDROP_NOT_YET(instance_norm_forward, InstanceNormForward)
NORMDROP_NOT_YET(instance_norm_backward, InstanceNormBackward)
NORMDROP_NOT_YET(weight_norm_forward, WeightNormForward)
NORMDROP_NOT_YET(weight_norm_backward, WeightNormBackward)
NORMDROP_NOT_YET(prelu_forward, PreluForward)
NORMDROP_NOT_YET(prelu_backward, PreluBackward)
NORMDROP_NOT_YET(dropout_add_layer_norm_forward, DropoutAddLayerNormForward)
NORMDROP_NOT_YET(dropout_add_layer_norm_backward, DropoutAddLayerNormBackward)
NORMDROP_NOT_YET(dropout_add_rms_norm_forward, DropoutAddRmsNormForward)
NORMDROP_NOT_YET(dropout_add_rms_norm_backward, DropoutAddRmsNormBackward)
#undef NORMDROP_NOT_YET

}  // namespace normdrop::NORMDROP_DEVICE
