"""The definition of every operation, in float64 NumPy.

These functions say what the kernels compute; tests, benchmark and documentation measure against
them. They are written to be read, not to be fast, and no kernel ever falls back on them.
The signatures are those of the package without ``out=``. Results of the norms are float64 and
not rounded to the dtype of ``x``, and so are those of Gaussian dropout; dropout, alpha dropout and
uniform dropout return the dtype of ``x``, because their rounding is part of their definition.
"""

from .alpha_dropout import (
    alpha_dropout,
    alpha_dropout_backward,
    alpha_dropout_constants,
    alpha_dropout_forward,
)
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
from .gaussian_dropout import (
    ReferenceGaussianMask,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
    gaussian_factor,
    normals,
)
from .layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from .philox import drawn_shape, philox4x32, words_by_index, words_of
from .uniform_dropout import (
    ReferenceUniformMask,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
    uniform_factor,
)

__all__ = [
    "ReferenceGaussianMask",
    "ReferenceMask",
    "ReferenceUniformMask",
    "alpha_dropout",
    "alpha_dropout_backward",
    "alpha_dropout_constants",
    "alpha_dropout_forward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "drawn_shape",
    "dropout",
    "dropout_backward",
    "dropout_forward",
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_dropout_forward",
    "gaussian_factor",
    "keep_mask",
    "keep_threshold",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "normals",
    "philox4x32",
    "scale_in",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "uniform_factor",
    "update_running_stats",
    "words_by_index",
    "words_of",
]
