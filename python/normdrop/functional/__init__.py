"""The operations, as plain functions of NumPy arrays."""

from normdrop.functional.alpha_dropout import (
    AlphaDropoutMask,
    alpha_dropout,
    alpha_dropout_backward,
    alpha_dropout_forward,
)
from normdrop.functional.batch_norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    update_running_stats,
)
from normdrop.functional.batch_norm_halves import (
    batch_norm_apply,
    batch_norm_backward_apply,
    batch_norm_gradient_sums,
    batch_stats,
)
from normdrop.functional.dropout import dropout, dropout_backward, dropout_forward
from normdrop.functional.dropout_add_norm import (
    dropout_add_layer_norm_backward,
    dropout_add_layer_norm_forward,
    dropout_add_rms_norm_backward,
    dropout_add_rms_norm_forward,
)
from normdrop.functional.dropout_mask import DropoutMask
from normdrop.functional.gaussian_dropout import (
    GaussianDropoutMask,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
)
from normdrop.functional.group_norm import group_norm, group_norm_backward, group_norm_forward
from normdrop.functional.instance_norm import (
    instance_norm,
    instance_norm_backward,
    instance_norm_forward,
)
from normdrop.functional.layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from normdrop.functional.prelu import prelu, prelu_backward
from normdrop.functional.rms_norm import rms_norm, rms_norm_backward, rms_norm_forward
from normdrop.functional.uniform_dropout import (
    UniformDropoutMask,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
)
from normdrop.functional.weight_norm import (
    weight_norm,
    weight_norm_backward,
    weight_norm_forward,
)

__all__ = [
    "AlphaDropoutMask",
    "DropoutMask",
    "GaussianDropoutMask",
    "UniformDropoutMask",
    "alpha_dropout",
    "alpha_dropout_backward",
    "alpha_dropout_forward",
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
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_dropout_forward",
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "prelu",
    "prelu_backward",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "update_running_stats",
    "weight_norm",
    "weight_norm_backward",
    "weight_norm_forward",
]
