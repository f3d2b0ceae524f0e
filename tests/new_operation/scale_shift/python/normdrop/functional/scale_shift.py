"""Scale and shift of channels."""

from __future__ import annotations

from typing import Any, SupportsIndex

from normdrop import _core
from normdrop.results import Gradients


def scale_shift(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    out: Any = None,
) -> Any:
    """Scale and shift each channel of ``x``.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        At least two axes, any strides.
    weight, bias : ndarray, optional
        One value a channel; left out, 1 and 0.
    channel_axis : int, default 1
        The axis of the channels.
    out : ndarray, optional
        Where to write; ``out=x`` works in place.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.scale_shift(np.array([[1.0, 2.0]]), np.array([3.0, 4.0]))
    array([[3., 8.]])
    """
    return _core.scale_shift(x, weight, bias, channel_axis, out)


def scale_shift_backward(
    grad_output: Any,
    x: Any,
    weight: Any = None,
    *,
    channel_axis: SupportsIndex = 1,
    bias: bool = True,
    out: Any = None,
) -> Gradients[Any]:
    """Gradients of :func:`scale_shift`.

    Parameters
    ----------
    grad_output : ndarray
        Gradient of the loss with respect to ``y``.
    x, weight, channel_axis
        As they were in the forward pass.
    bias : bool, default True
        Whether the gradient of a bias is wanted.
    out : ndarray, optional
        Receives the gradient of ``x``. ``out=grad_output`` works in place.

    Returns
    -------
    Gradients
        ``(x, weight, bias)``; ``weight`` is None without a weight.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> nd.scale_shift_backward(x, x, np.ones(2)).weight
    array([10., 20.])
    """
    return Gradients(*_core.scale_shift_backward(grad_output, x, weight, channel_axis, bias, out))
