"""Scale and shift of channels, by definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from normdrop.results import Gradients


def scale_shift(x: Any, weight: Any = None, bias: Any = None, *, channel_axis: int = 1) -> Any:
    """``x * weight + bias``."""
    y = np.asarray(x, np.float64) * _along(x, weight, channel_axis, 1.0)
    return y + _along(x, bias, channel_axis, 0.0)


def scale_shift_backward(
    grad_output: Any, x: Any, weight: Any = None, *, channel_axis: int = 1, bias: bool = True
) -> Gradients[Any]:
    """Gradients of x, weight and bias."""
    grad, values = (np.asarray(array, np.float64) for array in (grad_output, x))
    others = tuple(axis for axis in range(x.ndim) if axis != channel_axis % x.ndim)
    return Gradients(
        grad * _along(x, weight, channel_axis, 1.0),
        None if weight is None else (grad * values).sum(others),
        grad.sum(others) if bias else None,
    )


def _along(x: Any, values: Any, channel_axis: int, otherwise: float) -> Any:
    """One value a channel, shaped to go with x."""
    shape = [1] * x.ndim
    if values is None:
        return np.full(shape, otherwise)
    shape[channel_axis] = values.size
    return np.asarray(values, np.float64).reshape(shape)
