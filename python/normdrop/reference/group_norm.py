"""Group norm: one mean and one variance per sample and group of neighbouring channels."""

from __future__ import annotations

import math

import numpy as np

from ..results import Gradients, NormStats
from .batch_norm import split_axes
from .moments import AnyArray, FloatArray, along, gradient_of_x, moments, normalise, wide

WITHIN_A_GROUP = (2, 3)  # axes of what in_groups returns


def group_norm(
    x: AnyArray,
    num_groups: int,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> FloatArray:
    """Normalise each group of channels of each sample to mean 0 and variance 1."""
    return group_norm_forward(x, num_groups, weight, bias, channel_axis=channel_axis, eps=eps)[0]


def group_norm_forward(
    x: AnyArray,
    num_groups: int,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> tuple[FloatArray, NormStats]:
    """``group_norm`` together with its statistics, shape (samples, groups)."""
    channel, _ = split_axes(channel_axis, x.ndim)
    values = in_groups(x, num_groups, channel_axis)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean, var = moments(values, WITHIN_A_GROUP)
        inv_std = 1.0 / np.sqrt(var + eps)
        x_hat = out_of_groups(normalise(values, mean, inv_std), x.shape, channel_axis)
    y = x_hat * along(weight, channel, x.ndim, 1.0) + along(bias, channel, x.ndim, 0.0)
    return y, NormStats(mean.squeeze(WITHIN_A_GROUP), inv_std.squeeze(WITHIN_A_GROUP))


def group_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: NormStats,
    num_groups: int,
    weight: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    bias: bool = True,
) -> Gradients:
    """Gradients at the statistics as passed.

    The means over a group are those of ``grad_output * weight``: its channels have different
    weights.
    """
    channel, others = split_axes(channel_axis, x.ndim)
    grad = wide(grad_output)
    mean, inv_std = (np.expand_dims(value, WITHIN_A_GROUP) for value in stats)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        x_hat = (in_groups(x, num_groups, channel_axis) - mean) * inv_std
        weighted = in_groups(grad * along(weight, channel, x.ndim, 1.0), num_groups, channel_axis)
        grad_x = gradient_of_x(weighted, x_hat, inv_std, WITHIN_A_GROUP)
        products = grad * out_of_groups(x_hat, x.shape, channel_axis)
        grad_weight = None if weight is None else products.sum(others)
    grad_bias = grad.sum(others) if bias else None
    return Gradients(out_of_groups(grad_x, x.shape, channel_axis), grad_weight, grad_bias)


def in_groups(x: AnyArray, num_groups: int, channel_axis: int) -> FloatArray:
    """Values as (samples, groups, channels of a group, everything else); axis 0 counts samples."""
    if channel_axis % x.ndim == 0:
        raise ValueError("group_norm: channel_axis must not be 0, which counts the samples, got 0")
    moved = np.moveaxis(wide(x), channel_axis, 1)
    samples, channels, *others = moved.shape
    if num_groups != channels and (num_groups < 1 or channels % num_groups):
        raise ValueError(
            f"group_norm: num_groups must divide the {channels} channels, got {num_groups}"
        )
    return moved.reshape(samples, num_groups, channels // max(num_groups, 1), math.prod(others))


def out_of_groups(values: FloatArray, shape: tuple[int, ...], channel_axis: int) -> FloatArray:
    """Undo :func:`in_groups` for an x of that shape."""
    others = list(shape)
    channels = others.pop(channel_axis)
    moved = values.reshape(others[0], channels, *others[1:])
    return np.moveaxis(moved, 1, channel_axis)
