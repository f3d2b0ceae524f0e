"""The definition of every operation, in float64 NumPy.

These functions say what the kernels compute; tests, benchmark and documentation measure against
them. They are written to be read, not to be fast, and no kernel ever falls back on them.
The signatures are those of the package without ``out=``. Results of the norms are float64 and
not rounded to the dtype of ``x``; dropout returns the dtype of ``x``, because its rounding is
part of its definition.
"""

from .batch_norm import batch_norm, batch_norm_backward, batch_norm_forward, update_running_stats
from .dropout import (
    ReferenceMask,
    dropout,
    dropout_backward,
    dropout_forward,
    keep_mask,
    keep_threshold,
    scale_in,
)
from .layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from .philox import philox4x32, words_by_index

__all__ = [
    "ReferenceMask",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "dropout",
    "dropout_backward",
    "dropout_forward",
    "keep_mask",
    "keep_threshold",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "philox4x32",
    "scale_in",
    "update_running_stats",
    "words_by_index",
]
