// The table of the platform that this file is compiled for: a card, or its emulation on the host.
#include "cuda/kernels/kernels.h"

namespace normdrop::NORMDROP_DEVICE {

extern const OpTable op_table;
const OpTable op_table = {
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .batch_norm_forward = batch_norm_forward,
    .batch_norm_inference = batch_norm_inference,
    .batch_norm_backward = batch_norm_backward,
    .update_running_stats = update_running_stats,
    .dropout = dropout,
    .dropout_keep = dropout_keep,
    .copy = copy,
};

}  // namespace normdrop::NORMDROP_DEVICE
