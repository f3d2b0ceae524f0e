"""The operations, as plain functions of NumPy arrays."""

from normdrop.functional.batch_norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    update_running_stats,
)
from normdrop.functional.dropout import dropout, dropout_backward, dropout_forward
from normdrop.functional.dropout_mask import DropoutMask
from normdrop.functional.layer_norm import layer_norm, layer_norm_backward, layer_norm_forward

__all__ = [
    "DropoutMask",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "dropout",
    "dropout_backward",
    "dropout_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "update_running_stats",
]
