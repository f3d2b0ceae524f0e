"""Norms as one would write them down with an array library, in the data's own dtype.

``xp`` is NumPy or ``jax.numpy``. What tells the norms apart is their `Geometry`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from normdrop.benchmark.operations.record import EPS, Builder, Call, Geometry

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case


def _statistics(xp: Any, x: Any, geometry: Geometry) -> tuple[Any, Any]:
    if not geometry.centred:
        return 0, 1 / xp.sqrt((x * x).mean(axis=geometry.axes, keepdims=True) + EPS)
    mean = x.mean(axis=geometry.axes, keepdims=True)
    return mean, 1 / xp.sqrt(x.var(axis=geometry.axes, keepdims=True) + EPS)


def _norm(xp: Any, case: Case, d: Any, geometry: Geometry) -> Call:
    """Build forward, inference or backward; only arrays go in, so that a compiler may see them."""
    shape, parameter_shape = geometry.shape, geometry.parameter_shape
    with_bias = hasattr(d, "bias")
    parameters = [d.weight.reshape(parameter_shape)]
    parameters += [d.bias.reshape(parameter_shape)] if with_bias else []

    def write(x: Any, mean: Any, inv_std: Any, weight: Any, *bias: Any) -> Any:
        y = (x - mean) * inv_std * weight
        return (y + bias[0] if bias else y).reshape(case.memory_shape)

    def forward(x: Any, *parameters: Any) -> Any:
        x = x.reshape(shape)
        return write(x, *_statistics(xp, x, geometry), *parameters)

    def inference(x: Any, mean: Any, var: Any, *parameters: Any) -> Any:
        return write(x, mean, 1 / xp.sqrt(var + EPS), *parameters)

    def backward(grad_output: Any, x: Any, mean: Any, inv_std: Any, weight: Any) -> Any:
        x, grad_output = x.reshape(shape), grad_output.reshape(shape)
        x_hat = (x - mean) * inv_std
        grad, product = grad_output * weight, grad_output * x_hat
        grad_x = grad - x_hat * (grad * x_hat).mean(axis=geometry.axes, keepdims=True)
        if geometry.centred:
            grad_x = grad_x - grad.mean(axis=geometry.axes, keepdims=True)
        sums = (product, grad_output) if with_bias else (product,)
        gradients = (array.sum(axis=geometry.parameter_axes).reshape(-1) for array in sums)
        return ((inv_std * grad_x).reshape(case.memory_shape), *gradients)

    if case.direction == "forward":
        return Call(forward, (d.x, *parameters))
    if case.direction == "inference":
        running = (array.reshape(parameter_shape) for array in (d.running_mean, d.running_var))
        return Call(inference, (d.x, *running, *parameters))
    statistics = _statistics(xp, d.x.reshape(shape), geometry)
    return Call(backward, (d.grad_output, d.x, *statistics, parameters[0]))


def norm(describe: Callable[[Case], Geometry]) -> Builder:
    """Return what builds a norm of this geometry."""

    def build(xp: Any, case: Case, d: Any) -> Call:
        return _norm(xp, case, d, describe(case))

    return build


def sign_of_deviation(x: Any, geometry: Geometry) -> Any:
    """Return the signs of the normalised x."""
    parts = x.reshape(geometry.shape)
    return np.sign(parts - _statistics(np, parts, geometry)[0]).reshape(x.shape)


def gradient_magnitude(data: Any, geometry: Geometry) -> Any:
    """Add up the magnitudes of the terms of a norm's gradient of x."""
    x = data.x.reshape(geometry.shape)
    mean, inv_std = _statistics(np, x, geometry)
    x_hat = np.abs((x - mean) * inv_std)
    grad = np.abs(data.grad_output.reshape(geometry.shape))
    grad = grad * np.abs(data.weight.reshape(geometry.parameter_shape)) * geometry.factor
    terms = grad + x_hat * (grad * x_hat).mean(axis=geometry.axes, keepdims=True)
    if geometry.centred:
        terms = terms + grad.mean(axis=geometry.axes, keepdims=True)
    return (inv_std * terms).reshape(data.x.shape)
