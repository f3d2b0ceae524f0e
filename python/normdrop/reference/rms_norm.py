"""RMS norm: y = x / sqrt(mean(x**2) + eps) * weight + bias over neighbouring axes."""

from __future__ import annotations

import numpy as np

from ..results import Gradients, NormStats
from .layer_norm import normalised_axes
from .moments import (
    AnyArray,
    Axes,
    FloatArray,
    along,
    mean_over,
    normalise,
    uncentred_gradient_of_x,
    wide,
)


def rms_norm(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> FloatArray:
    """Scale each set of values along ``axis`` to a mean square of 1."""
    return rms_norm_forward(x, weight, bias, axis=axis, eps=eps)[0]


def rms_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> tuple[FloatArray, NormStats[FloatArray, None]]:
    """``rms_norm`` together with the statistics that its backward pass needs."""
    axes = normalised_axes(axis, x.ndim)
    values = wide(x)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inv_std = 1.0 / np.sqrt(mean_over(values**2, axes) + eps)
        x_hat = normalise(values, np.zeros(()), inv_std)
    y = x_hat * along(weight, axes, x.ndim, 1.0) + along(bias, axes, x.ndim, 0.0)
    return y, NormStats(None, inv_std.squeeze(axes))


def rms_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: NormStats[FloatArray, None],
    weight: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    bias: bool = True,
) -> Gradients:
    """Gradients of x, weight and bias at the statistics as passed."""
    axes = normalised_axes(axis, x.ndim)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    grad = wide(grad_output)
    inv_std = np.expand_dims(stats.inv_std, axes)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x_hat = wide(x) * inv_std
        weighted = grad * along(weight, axes, x.ndim, 1.0)
        grad_x = uncentred_gradient_of_x(weighted, x_hat, inv_std, axes)
        grad_weight = None if weight is None else (grad * x_hat).sum(others)
    return Gradients(grad_x, grad_weight, grad.sum(others) if bias else None)
