"""Dropout, the sum with a residual, and a layer or RMS norm of that sum.

The sum is rounded to the dtype once, and it is the rounded sum that is normalised: the backward
pass, which gets nothing else, then differentiates exactly what the forward pass computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..results import FusedGradients, FusedNorm
from .dropout import RandomSource, dropout_forward, keep_mask, scale_in
from .layer_norm import layer_norm_backward, layer_norm_forward
from .moments import AnyArray, Axes, FloatArray
from .rms_norm import rms_norm_backward, rms_norm_forward


def dropout_add_layer_norm_forward(
    x: AnyArray,
    residual: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    p: float = 0.0,
    rng: RandomSource = None,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> FusedNorm[Any, Any, Any]:
    """``sum = residual + dropout(x)`` and its layer norm."""
    total, mask = _dropout_add(x, residual, p, rng)
    y, stats = layer_norm_forward(total, weight, bias, axis=axis, eps=eps)
    return FusedNorm(y, total, stats, mask)


def dropout_add_layer_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[Any, Any, Any],
    weight: AnyArray | None = None,
    *,
    grad_sum: AnyArray | None = None,
    axis: int | Axes = -1,
    bias: bool = True,
) -> FusedGradients[Any, Any]:
    """Gradients at the sum, statistics and mask as passed."""
    norm = layer_norm_backward(grad_y, fused.sum, fused.stats, weight, axis=axis, bias=bias)
    return FusedGradients(*_through_the_sum(norm.x, grad_sum, fused), norm.weight, norm.bias)


def dropout_add_rms_norm_forward(
    x: AnyArray,
    residual: AnyArray,
    weight: AnyArray | None = None,
    bias: AnyArray | None = None,
    *,
    p: float = 0.0,
    rng: RandomSource = None,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> FusedNorm[Any, Any, Any]:
    """``sum = residual + dropout(x)`` and its RMS norm."""
    total, mask = _dropout_add(x, residual, p, rng)
    y, stats = rms_norm_forward(total, weight, bias, axis=axis, eps=eps)
    return FusedNorm(y, total, stats, mask)


def dropout_add_rms_norm_backward(
    grad_y: AnyArray,
    fused: FusedNorm[Any, Any, Any],
    weight: AnyArray | None = None,
    *,
    grad_sum: AnyArray | None = None,
    axis: int | Axes = -1,
    bias: bool = True,
) -> FusedGradients[Any, Any]:
    """Gradients at the sum, statistics and mask as passed."""
    norm = rms_norm_backward(grad_y, fused.sum, fused.stats, weight, axis=axis, bias=bias)
    return FusedGradients(*_through_the_sum(norm.x, grad_sum, fused), norm.weight, norm.bias)


def _dropout_add(
    x: AnyArray, residual: AnyArray, p: float, rng: RandomSource
) -> tuple[AnyArray, Any]:
    _, mask = dropout_forward(x, p, rng=rng)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.asarray(residual, np.float64) + _dropped(x, mask, x.dtype)
        return total.astype(x.dtype), mask


def _through_the_sum(
    grad: FloatArray, grad_sum: AnyArray | None, fused: FusedNorm[Any, Any, Any]
) -> tuple[FloatArray, FloatArray]:
    """Gradients of x and of the residual, given what comes back through the norm."""
    if grad_sum is not None:
        grad = grad + np.asarray(grad_sum, np.float64)
    return _dropped(grad, fused.mask, fused.sum.dtype), grad


def _dropped(values: AnyArray, mask: Any, dtype: Any) -> FloatArray:
    """Dropout in float64, at the scale that arrays of ``dtype`` have."""
    keep = keep_mask(mask.seed, mask.call, mask.p, values.shape)
    scaled = np.asarray(values, np.float64) * np.float64(scale_in(mask.p, dtype))
    return np.where(keep, scaled, 0.0)
