"""PReLU: x where it is positive, weight * x elsewhere; one weight per channel or one in all."""

from __future__ import annotations

import numpy as np

from ..results import Gradients
from .batch_norm import split_axes
from .moments import AnyArray, Axes, FloatArray, along, wide


def prelu(x: AnyArray, weight: AnyArray, *, channel_axis: int = 1) -> FloatArray:
    """``max(x, 0) + weight * min(x, 0)``; a NaN stays one."""
    slope, _ = _slope(x, weight, channel_axis)
    values = wide(x)
    with np.errstate(invalid="ignore"):
        return np.where(values > 0.0, values, values * slope)


def prelu_backward(
    grad_output: AnyArray, x: AnyArray, weight: AnyArray, *, channel_axis: int = 1
) -> Gradients:
    """Gradients of x and weight; at x = 0 the slope is that of the negative side."""
    slope, others = _slope(x, weight, channel_axis)
    grad, values = wide(grad_output), wide(x)
    positive = values > 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        grad_x = np.where(positive, grad, grad * slope)
        terms = np.where(positive, 0.0, grad * values)
    return Gradients(grad_x, terms.sum(others).reshape(weight.shape), None)


def _slope(x: AnyArray, weight: AnyArray, channel_axis: int) -> tuple[FloatArray, Axes]:
    """Shape the weight to broadcast against x, and name the axes that share one slope."""
    if weight.shape == (1,):
        return wide(weight).reshape((1,) * x.ndim), tuple(range(x.ndim))
    channel, others = split_axes(channel_axis, x.ndim)
    return along(weight, channel, x.ndim, 1.0), others
