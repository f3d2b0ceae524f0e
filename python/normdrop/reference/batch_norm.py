"""Batch norm: one mean and one variance per channel, over every other axis."""

from __future__ import annotations

import numpy as np

from ..results import BatchStats, Gradients
from .moments import AnyArray, Axes, FloatArray, along, gradient_of_x, moments, normalise


def batch_norm(
    x: AnyArray,
    running_mean: AnyArray,
    running_var: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> FloatArray:
    """Inference form: an affine map per channel made from the running statistics."""
    channel, _ = split_axes(channel_axis, x.ndim)
    mean, var, scale, shift = (
        along(value, channel, x.ndim, default)
        for value, default in ((running_mean, 0.0), (running_var, 1.0), (weight, 1.0), (bias, 0.0))
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x_hat = normalise(np.asarray(x, np.float64), mean, 1.0 / np.sqrt(var + eps))
        return x_hat * scale + shift


def batch_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> tuple[FloatArray, BatchStats]:
    """Training form: normalise by the statistics of the batch itself."""
    channel, others = split_axes(channel_axis, x.ndim)
    count = int(np.prod([x.shape[axis] for axis in others]))
    if count < 2:
        raise ValueError(
            f"batch_norm_forward: x must have at least 2 values per channel, got {count}"
        )
    values = np.asarray(x, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean, var = moments(values, others)
        inv_std = 1.0 / np.sqrt(var + eps)
        x_hat = normalise(values, mean, inv_std)
    y = x_hat * along(weight, channel, x.ndim, 1.0) + along(bias, channel, x.ndim, 0.0)
    return y, BatchStats(mean.ravel(), var.ravel(), inv_std.ravel(), count)


def batch_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: BatchStats,
    weight: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    frozen: bool = False,
    bias: bool = True,
) -> Gradients:
    """Gradients at the statistics as passed.

    With ``frozen`` the statistics were constants, so that no gradient flows through them.
    """
    channel, others = split_axes(channel_axis, x.ndim)
    grad = np.asarray(grad_output, np.float64)
    mean = along(stats.mean, channel, x.ndim, 0.0)
    inv_std = along(stats.inv_std, channel, x.ndim, 1.0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x_hat = (np.asarray(x, np.float64) - mean) * inv_std
        weighted = grad * along(weight, channel, x.ndim, 1.0)
        through_stats = gradient_of_x(weighted, x_hat, inv_std, others)
        grad_x = weighted * inv_std if frozen else through_stats
        grad_weight = None if weight is None else (grad * x_hat).sum(others)
    return Gradients(grad_x, grad_weight, grad.sum(others) if bias else None)


def update_running_stats(
    running_mean: AnyArray,
    running_var: AnyArray,
    stats: BatchStats,
    *,
    momentum: float = 0.1,
    correction: int = 1,
) -> None:
    """Move the running statistics towards a batch, in place; ``momentum`` weighs the new batch."""
    if stats.count <= correction:
        raise ValueError(
            f"update_running_stats: stats.count must be greater than {correction}, "
            f"got {stats.count}"
        )
    var = stats.var * (stats.count / (stats.count - correction))
    running_mean[...] = (1.0 - momentum) * running_mean.astype(np.float64) + momentum * stats.mean
    running_var[...] = (1.0 - momentum) * running_var.astype(np.float64) + momentum * var


def split_axes(channel_axis: int, ndim: int) -> tuple[Axes, Axes]:
    """Split the axes of x into the channel axis and those that are reduced."""
    channel = channel_axis % ndim
    return (channel,), tuple(axis for axis in range(ndim) if axis != channel)
