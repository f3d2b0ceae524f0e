"""What the norms share: moments over some axes, the affine map and the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]
Axes = tuple[int, ...]


def wide(values: AnyArray) -> FloatArray:
    """As float64; wider types stay, so that float64 can be judged by what is wider."""
    return np.asarray(values, np.result_type(values, np.float64))


def mean_over(values: FloatArray, axes: Axes) -> FloatArray:
    """Mean with the axes kept; NaN over nothing, without NumPy's warning."""
    count = np.prod([values.shape[axis] for axis in axes], dtype=np.float64)
    return np.asarray(values.sum(axes, keepdims=True) / count)


def moments(x: FloatArray, axes: Axes) -> tuple[FloatArray, FloatArray]:
    """Mean and biased variance with the axes kept.

    The mean is corrected by the mean of what is left after subtracting it, so that a constant
    row has exactly its constant as the mean and 0 as the variance.
    """
    mean = mean_over(x, axes)
    mean = mean + mean_over(x - mean, axes)
    return mean, mean_over((x - mean) ** 2, axes)


def normalise(x: FloatArray, mean: FloatArray, inv_std: FloatArray) -> FloatArray:
    """``(x - mean) * inv_std``, where 0 stays 0 even if inv_std is infinite."""
    centred = x - mean
    return np.where(centred == 0.0, 0.0, centred * inv_std)


def along(parameter: AnyArray | None, axes: Axes, ndim: int, default: float) -> FloatArray:
    """Shape a parameter that lives on the axes so that it broadcasts against x."""
    if parameter is None:
        return np.full((1,) * ndim, default)
    values = wide(parameter)
    shape = [1] * ndim
    for axis, size in zip(axes, values.shape, strict=True):
        shape[axis] = size
    return values.reshape(shape)


def gradient_of_x(
    grad: FloatArray, x_hat: FloatArray, inv_std: FloatArray, axes: Axes
) -> FloatArray:
    """Gradient through a centred norm; ``grad`` is the gradient of ``x_hat``."""
    return gradient_at_means(
        grad, x_hat, inv_std, mean_over(grad, axes), mean_over(grad * x_hat, axes)
    )


def gradient_at_means(
    grad: FloatArray,
    x_hat: FloatArray,
    inv_std: FloatArray,
    mean_grad: FloatArray,
    mean_product: FloatArray,
) -> FloatArray:
    """``gradient_of_x`` where the means of ``grad`` and of ``grad * x_hat`` are known."""
    return (grad - mean_grad - x_hat * mean_product) * inv_std


def uncentred_gradient_of_x(
    grad: FloatArray, x_hat: FloatArray, inv_std: FloatArray, axes: Axes
) -> FloatArray:
    """Gradient through a norm that subtracts no mean; ``grad`` is the gradient of ``x_hat``."""
    mean_product = mean_over(grad * x_hat, axes)
    return gradient_at_means(grad, x_hat, inv_std, np.zeros(()), mean_product)
