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
from normdrop.functional.dropout import dropout, dropout_backward, dropout_forward
from normdrop.functional.dropout_mask import DropoutMask
from normdrop.functional.gaussian_dropout import (
    GaussianDropoutMask,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
)
from normdrop.functional.layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from normdrop.functional.uniform_dropout import (
    UniformDropoutMask,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
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
    "batch_norm_backward",
    "batch_norm_forward",
    "dropout",
    "dropout_backward",
    "dropout_forward",
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_dropout_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "update_running_stats",
]
