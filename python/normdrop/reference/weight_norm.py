"""Weight norm: w = g * v / norm(v), one norm for each index of one axis."""

from __future__ import annotations

import numpy as np

from .batch_norm import split_axes
from .moments import AnyArray, FloatArray, along, normalise, wide


def weight_norm(v: AnyArray, g: AnyArray, *, axis: int = 0) -> FloatArray:
    """Give the part of ``v`` at each index of ``axis`` the Euclidean norm ``g`` of that index."""
    return weight_norm_forward(v, g, axis=axis)[0]


def weight_norm_forward(
    v: AnyArray, g: AnyArray, *, axis: int = 0
) -> tuple[FloatArray, FloatArray]:
    """``weight_norm`` together with the norms of ``v``."""
    kept, others = split_axes(axis, v.ndim)
    values = wide(v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        norm = np.sqrt((values**2).sum(others))
        scale = along(g, kept, v.ndim, 1.0) / along(norm, kept, v.ndim, 1.0)
        w = normalise(values, np.zeros(()), scale)
    return w, norm


def weight_norm_backward(
    grad_w: AnyArray, v: AnyArray, g: AnyArray, norm: AnyArray, *, axis: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Gradients of v and g at the norms as passed.

    That of v has no part along v itself: a longer v gives the same w.
    """
    kept, others = split_axes(axis, v.ndim)
    grad = wide(grad_w)
    length = along(norm, kept, v.ndim, 1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = wide(v) / length
        grad_g = (grad * unit).sum(others)
        scale = along(g, kept, v.ndim, 1.0) / length
        grad_v = scale * (grad - unit * along(grad_g, kept, v.ndim, 1.0))
    return grad_v, grad_g
