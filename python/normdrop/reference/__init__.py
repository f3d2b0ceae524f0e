"""The definition of every operation, in float64 NumPy.

These functions say what the kernels compute; tests, benchmark and documentation measure against
them. They are written to be read, not to be fast, and no kernel ever falls back on them.
The signatures are those of the package without ``out=``. Results of the norms are float64 and
not rounded to the dtype of ``x``; dropout returns the dtype of ``x``, because its rounding is
part of its definition, and so does the sum of dropout and a residual, which is then normalised.
"""

from .batch_norm import (
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_forward,
    batch_norm_gradient_sums,
    batch_stats,
    update_running_stats,
)
from .dropout import (
    ReferenceMask,
    dropout,
    dropout_backward,
    dropout_forward,
    keep_mask,
    keep_threshold,
    scale_in,
)
from .dropout_add_norm import (
    dropout_add_layer_norm_backward,
    dropout_add_layer_norm_forward,
    dropout_add_rms_norm_backward,
    dropout_add_rms_norm_forward,
)
from .group_norm import group_norm, group_norm_backward, group_norm_forward
from .instance_norm import instance_norm, instance_norm_backward, instance_norm_forward
from .layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from .philox import philox4x32, words_by_index
from .prelu import prelu, prelu_backward
from .rms_norm import rms_norm, rms_norm_backward, rms_norm_forward
from .weight_norm import weight_norm, weight_norm_backward, weight_norm_forward

__all__ = [
    "ReferenceMask",
    "batch_norm",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_backward_apply",
    "batch_norm_forward",
    "batch_norm_gradient_sums",
    "batch_stats",
    "dropout",
    "dropout_add_layer_norm_backward",
    "dropout_add_layer_norm_forward",
    "dropout_add_rms_norm_backward",
    "dropout_add_rms_norm_forward",
    "dropout_backward",
    "dropout_forward",
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm",
    "instance_norm_backward",
    "instance_norm_forward",
    "keep_mask",
    "keep_threshold",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "philox4x32",
    "prelu",
    "prelu_backward",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
    "scale_in",
    "update_running_stats",
    "weight_norm",
    "weight_norm_backward",
    "weight_norm_forward",
    "words_by_index",
]
