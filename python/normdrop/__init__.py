"""normdrop: layer norm, batch norm and dropout for NumPy arrays, without a framework.

>>> import numpy as np, normdrop as nd
>>> x = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)
>>> y, stats = nd.layer_norm_forward(x)
>>> gradients = nd.layer_norm_backward(y, x, stats)

The exact meaning of every function is its short float64 definition in
:mod:`normdrop.reference`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normdrop._core import DeviceArray
from normdrop._version import __version__
from normdrop.functional import (
    AlphaDropoutMask,
    DropoutMask,
    GaussianDropoutMask,
    UniformDropoutMask,
    alpha_dropout,
    alpha_dropout_backward,
    alpha_dropout_forward,
    batch_norm,
    batch_norm_apply,
    batch_norm_backward,
    batch_norm_backward_apply,
    batch_norm_forward,
    batch_norm_gradient_sums,
    batch_stats,
    dropout,
    dropout_add_layer_norm_backward,
    dropout_add_layer_norm_forward,
    dropout_add_rms_norm_backward,
    dropout_add_rms_norm_forward,
    dropout_backward,
    dropout_forward,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
    group_norm,
    group_norm_backward,
    group_norm_forward,
    instance_norm,
    instance_norm_backward,
    instance_norm_forward,
    layer_norm,
    layer_norm_backward,
    layer_norm_forward,
    prelu,
    prelu_backward,
    rms_norm,
    rms_norm_backward,
    rms_norm_forward,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
    update_running_stats,
    weight_norm,
    weight_norm_backward,
    weight_norm_forward,
)
from normdrop.results import (
    BatchStats,
    FusedGradients,
    FusedNorm,
    Gradients,
    GradientSums,
    NormStats,
)
from normdrop.runtime import (
    backends,
    get_num_threads,
    num_threads,
    release_pool,
    set_num_threads,
    set_pool_limit,
    show_config,
    use_backend,
)

if TYPE_CHECKING:
    from normdrop import layers as layers
    from normdrop import reference as reference

__all__ = [
    "AlphaDropoutMask",
    "BatchStats",
    "DeviceArray",
    "DropoutMask",
    "FusedGradients",
    "FusedNorm",
    "GaussianDropoutMask",
    "GradientSums",
    "Gradients",
    "NormStats",
    "UniformDropoutMask",
    "__version__",
    "alpha_dropout",
    "alpha_dropout_backward",
    "alpha_dropout_forward",
    "backends",
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
    "get_num_threads",
    "group_norm",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "num_threads",
    "prelu",
    "prelu_backward",
    "release_pool",
    "rms_norm",
    "rms_norm_backward",
    "rms_norm_forward",
    "set_num_threads",
    "set_pool_limit",
    "show_config",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "update_running_stats",
    "use_backend",
    "weight_norm",
    "weight_norm_backward",
    "weight_norm_forward",
]

_MODULES = ("layers", "reference")  # imported when they are first used


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"normdrop.{name}")
    raise AttributeError(f"module 'normdrop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES} - {"TYPE_CHECKING", "Any", "import_module"})
