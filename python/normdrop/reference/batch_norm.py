"""Batch norm: one mean and one variance per channel, over every other axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..results import BatchStats, Gradients, GradientSums
from .moments import AnyArray, Axes, FloatArray, along, gradient_at_means, moments, normalise, wide


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
    mean, var = (wide(value) for value in (running_mean, running_var))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        stats = BatchStats(mean, var, 1.0 / np.sqrt(var + eps), 0)
    return batch_norm_apply(x, stats, weight, bias, channel_axis=channel_axis)


def batch_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> tuple[FloatArray, BatchStats]:
    """Training form: normalise by the statistics of the batch itself."""
    stats = batch_stats(x, channel_axis=channel_axis, eps=eps)
    if stats.count < 2:
        raise ValueError(
            f"batch_norm_forward: x must have at least 2 values per channel, got {stats.count}"
        )
    return batch_norm_apply(x, stats, weight, bias, channel_axis=channel_axis), stats


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
    options: dict[str, Any] = {"channel_axis": channel_axis}
    sums = batch_norm_gradient_sums(grad_output, x, stats, **options)
    if frozen:
        channel, _ = split_axes(channel_axis, x.ndim)
        grad_x = wide(grad_output) * _scale(stats, weight, channel, x.ndim)
    else:
        grad_x = batch_norm_backward_apply(grad_output, x, stats, sums, weight, **options)
    grad_weight = None if weight is None else sums.grad_x_hat
    return Gradients(grad_x, grad_weight, sums.grad if bias else None)


def batch_stats(x: AnyArray, *, channel_axis: int = 1, eps: float = 1e-5) -> BatchStats:
    """Statistics of each channel, of any number of values; NaN of none."""
    _, others = split_axes(channel_axis, x.ndim)
    count = int(np.prod([x.shape[axis] for axis in others]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean, var = moments(wide(x), others)
        inv_std = 1.0 / np.sqrt(var + eps)
    return BatchStats(mean.ravel(), var.ravel(), inv_std.ravel(), count)


def batch_norm_apply(
    x: AnyArray,
    stats: BatchStats,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
) -> FloatArray:
    """Normalise by statistics as passed."""
    channel, _ = split_axes(channel_axis, x.ndim)
    mean = along(stats.mean, channel, x.ndim, 0.0)
    inv_std = along(stats.inv_std, channel, x.ndim, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x_hat = normalise(wide(x), mean, inv_std)
        return x_hat * along(weight, channel, x.ndim, 1.0) + along(bias, channel, x.ndim, 0.0)


def batch_norm_gradient_sums(
    grad_output: AnyArray, x: AnyArray, stats: BatchStats, *, channel_axis: int = 1
) -> GradientSums:
    """Sum ``grad_output`` and ``grad_output * x_hat`` over each channel."""
    channel, others = split_axes(channel_axis, x.ndim)
    grad = wide(grad_output)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x_hat = _deviations(x, stats, channel)
        count = int(np.prod([x.shape[axis] for axis in others]))
        return GradientSums(grad.sum(others), (grad * x_hat).sum(others), count)


def batch_norm_backward_apply(
    grad_output: AnyArray,
    x: AnyArray,
    stats: BatchStats,
    sums: GradientSums,
    weight: AnyArray | None = None,
    *,
    channel_axis: int = 1,
) -> FloatArray:
    """Gradient of x at statistics and sums as passed, which may be those of more values than x."""
    channel, _ = split_axes(channel_axis, x.ndim)
    scale = _scale(stats, weight, channel, x.ndim)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        mean_grad, mean_product = (
            along(total / np.float64(sums.count), channel, x.ndim, 0.0)
            for total in (sums.grad, sums.grad_x_hat)
        )
        grad, x_hat = wide(grad_output), _deviations(x, stats, channel)
        return gradient_at_means(grad, x_hat, scale, mean_grad, mean_product)


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


def _deviations(x: AnyArray, stats: BatchStats, channel: Axes) -> FloatArray:
    """``(x - mean) * inv_std`` as a backward has it: NaN where 0 meets an infinite inv_std."""
    mean = along(stats.mean, channel, x.ndim, 0.0)
    return (wide(x) - mean) * along(stats.inv_std, channel, x.ndim, 1.0)


def _scale(stats: BatchStats, weight: AnyArray | None, channel: Axes, ndim: int) -> FloatArray:
    """Return what a gradient of x is multiplied by in the end: ``inv_std * weight``."""
    return along(stats.inv_std, channel, ndim, 1.0) * along(weight, channel, ndim, 1.0)
