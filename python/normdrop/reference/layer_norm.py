"""Layer norm: y = (x - mean) / sqrt(var + eps) * weight + bias over neighbouring axes."""

from __future__ import annotations

import numpy as np

from ..results import Gradients, NormStats
from .moments import AnyArray, Axes, FloatArray, along, gradient_of_x, moments, normalise, wide


def layer_norm(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> FloatArray:
    """Normalise each group of values along ``axis`` to mean 0 and variance 1."""
    return layer_norm_forward(x, weight, bias, axis=axis, eps=eps)[0]


def layer_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> tuple[FloatArray, NormStats]:
    """``layer_norm`` together with the statistics that its backward pass needs."""
    axes = normalised_axes(axis, x.ndim)
    values = wide(x)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean, var = moments(values, axes)
        inv_std = 1.0 / np.sqrt(var + eps)
        x_hat = normalise(values, mean, inv_std)
    y = x_hat * along(weight, axes, x.ndim, 1.0) + along(bias, axes, x.ndim, 0.0)
    return y, NormStats(mean.squeeze(axes), inv_std.squeeze(axes))


def layer_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: NormStats,
    weight: AnyArray | None = None,
    *,
    axis: int | Axes = -1,
    bias: bool = True,
) -> Gradients:
    """Gradients of x, weight and bias at the statistics as passed."""
    axes = normalised_axes(axis, x.ndim)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    grad = wide(grad_output)
    mean, inv_std = (np.expand_dims(value, axes) for value in stats)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x_hat = (wide(x) - mean) * inv_std
        weighted = grad * along(weight, axes, x.ndim, 1.0)
        grad_x = gradient_of_x(weighted, x_hat, inv_std, axes)
        grad_weight = None if weight is None else (grad * x_hat).sum(others)
    return Gradients(grad_x, grad_weight, grad.sum(others) if bias else None)


def normalised_axes(axis: int | Axes, ndim: int) -> Axes:
    """Axes as sorted non-negative numbers: the order in which they are named does not matter."""
    named = axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(int(i) % ndim for i in named))
