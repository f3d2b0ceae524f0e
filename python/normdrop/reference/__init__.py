"""The definition of every operation, in float64 NumPy.

These functions say what the kernels compute; tests, benchmark and documentation measure against
them. They are written to be read, not to be fast, and no kernel ever falls back on them.
The signatures are those of the package without ``out=``. Results of the norms are float64 and
not rounded to the dtype of ``x``, and so are those of Gaussian dropout; dropout, alpha dropout and
uniform dropout return the dtype of ``x``, because their rounding is part of their definition, and
so does the sum of dropout and a residual, which is then normalised.
"""

from .alpha_dropout import (
    alpha_dropout,
    alpha_dropout_backward,
    alpha_dropout_constants,
    alpha_dropout_forward,
)
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
from .gaussian_dropout import (
    ReferenceGaussianMask,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
    gaussian_factor,
    normals,
)
from .group_norm import group_norm, group_norm_backward, group_norm_forward
from .instance_norm import instance_norm, instance_norm_backward, instance_norm_forward
from .layer_norm import layer_norm, layer_norm_backward, layer_norm_forward
from .philox import drawn_shape, philox4x32, words_by_index, words_of
from .prelu import prelu, prelu_backward
from .rms_norm import rms_norm, rms_norm_backward, rms_norm_forward
from .uniform_dropout import (
    ReferenceUniformMask,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
    uniform_factor,
)
from .weight_norm import weight_norm, weight_norm_backward, weight_norm_forward

__all__ = [
    "ReferenceGaussianMask",
    "ReferenceMask",
    "ReferenceUniformMask",
    "alpha_dropout",
    "alpha_dropout_backward",
    "alpha_dropout_constants",
    "alpha_dropout_forward",
    "batch_norm",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_backward_apply",
    "batch_norm_forward",
    "batch_norm_gradient_sums",
    "batch_stats",
    "drawn_shape",
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
    "gaussian_factor",
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
    "normals",
    "philox4x32",
    "prelu",
    "prelu_backward",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
    "scale_in",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "uniform_factor",
    "update_running_stats",
    "weight_norm",
    "weight_norm_backward",
    "weight_norm_forward",
    "words_by_index",
    "words_of",
]
