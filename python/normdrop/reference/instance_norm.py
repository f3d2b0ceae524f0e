"""Instance norm: group norm in which every channel is a group of its own."""

from __future__ import annotations

from ..results import Gradients, NormStats
from .group_norm import group_norm_backward, group_norm_forward
from .moments import AnyArray, FloatArray


def instance_norm(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> FloatArray:
    """Normalise each channel of each sample to mean 0 and variance 1."""
    return instance_norm_forward(x, weight, bias, channel_axis=channel_axis, eps=eps)[0]


def instance_norm_forward(
    x: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
) -> tuple[FloatArray, NormStats]:
    """``instance_norm`` together with its statistics, shape (samples, channels)."""
    channels = x.shape[channel_axis]
    return group_norm_forward(x, channels, weight, bias, channel_axis=channel_axis, eps=eps)


def instance_norm_backward(
    grad_output: AnyArray,
    x: AnyArray,
    stats: NormStats,
    weight: AnyArray | None = None,
    *,
    channel_axis: int = 1,
    bias: bool = True,
) -> Gradients:
    """Gradients at the statistics as passed."""
    channels = x.shape[channel_axis]
    return group_norm_backward(
        grad_output, x, stats, channels, weight, channel_axis=channel_axis, bias=bias
    )
