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
    batch_norm_backward,
    batch_norm_forward,
    dropout,
    dropout_backward,
    dropout_forward,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
    layer_norm,
    layer_norm_backward,
    layer_norm_forward,
    uniform_dropout,
    uniform_dropout_backward,
    uniform_dropout_forward,
    update_running_stats,
)
from normdrop.results import BatchStats, Gradients, NormStats
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
    "GaussianDropoutMask",
    "Gradients",
    "NormStats",
    "UniformDropoutMask",
    "__version__",
    "alpha_dropout",
    "alpha_dropout_backward",
    "alpha_dropout_forward",
    "backends",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_forward",
    "dropout",
    "dropout_backward",
    "dropout_forward",
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_dropout_forward",
    "get_num_threads",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_forward",
    "num_threads",
    "release_pool",
    "set_num_threads",
    "set_pool_limit",
    "show_config",
    "uniform_dropout",
    "uniform_dropout_backward",
    "uniform_dropout_forward",
    "update_running_stats",
    "use_backend",
]

_MODULES = ("layers", "reference")  # imported when they are first used


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"normdrop.{name}")
    raise AttributeError(f"module 'normdrop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES} - {"TYPE_CHECKING", "Any", "import_module"})
