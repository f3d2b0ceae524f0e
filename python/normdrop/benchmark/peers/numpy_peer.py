"""NumPy as one would write it down: whole-array expressions in the data's own dtype."""

from __future__ import annotations

import numpy as np

from normdrop.benchmark.cases import DROP_PROBABILITY, EPS, Case
from normdrop.benchmark.data import Array, CaseData, given
from normdrop.benchmark.peers import Work


def create(threads: int) -> NumpyPeer:
    """Make the adapter; element-wise NumPy runs on one thread whatever is allowed."""
    return NumpyPeer()


class NumpyPeer:
    """Straightforward vectorised formulas."""

    def version(self) -> str:
        """Tell the version of the library."""
        return np.__version__

    def drop_caches(self) -> None:
        """Do nothing: NumPy recycles small memory only."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        if case.op == "dropout":
            return _dropout(case, data)
        axes, shape = _reduced_axes(case)
        weight, bias = given(data.weight).reshape(shape), given(data.bias).reshape(shape)
        if case.direction == "inference":
            mean = given(data.running_mean).reshape(shape)
            var = given(data.running_var).reshape(shape)
            return Work(lambda: ((data.x - mean) / np.sqrt(var + EPS) * weight + bias,), tuple)
        if case.direction == "forward":
            return Work(lambda: (_norm_forward(data.x, weight, bias, axes)[0],), tuple)
        _, mean, inv_std = _norm_forward(data.x, weight, bias, axes)
        grad_output = given(data.grad_output)
        others = tuple(axis for axis in range(data.x.ndim) if shape[axis] == 1)
        return Work(
            lambda: _norm_backward(grad_output, data.x, mean, inv_std, weight, axes, others), tuple
        )


def _reduced_axes(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the axes of the statistics, and the shape in which weight and bias broadcast."""
    rank = len(case.memory_shape)
    parameter_axis = rank - 1 if case.layout == "rows" else case.channel_axis % rank
    shape = tuple(case.parameters if axis == parameter_axis else 1 for axis in range(rank))
    others = tuple(axis for axis in range(rank) if axis != parameter_axis)
    return ((parameter_axis,) if case.layout == "rows" else others), shape


def _dropout(case: Case, data: CaseData) -> Work:
    generator = np.random.default_rng(2014)
    scale = data.x.dtype.type(1 / (1 - DROP_PROBABILITY))

    def draw() -> Array:
        keep: Array = generator.random(data.x.shape, dtype=np.float32) >= DROP_PROBABILITY
        return keep

    if case.direction == "forward":
        return Work(lambda: (data.x * draw() * scale,), tuple)
    keep, grad_output = draw(), given(data.grad_output)
    return Work(lambda: (grad_output * keep * scale,), tuple, keep=keep)


def _norm_forward(
    x: Array, weight: Array, bias: Array, axes: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    mean = x.mean(axis=axes, keepdims=True)
    inv_std = 1 / np.sqrt(x.var(axis=axes, keepdims=True) + EPS)
    return (x - mean) * inv_std * weight + bias, mean, inv_std


def _norm_backward(
    grad_output: Array,
    x: Array,
    mean: Array,
    inv_std: Array,
    weight: Array,
    axes: tuple[int, ...],
    parameter_axes: tuple[int, ...],
) -> tuple[Array, ...]:
    normalised = (x - mean) * inv_std
    product = grad_output * normalised
    grad_weight = product.sum(axis=parameter_axes)
    grad_bias = grad_output.sum(axis=parameter_axes)
    grad = grad_output * weight
    mean_grad = grad.mean(axis=axes, keepdims=True)
    mean_product = (grad * normalised).mean(axis=axes, keepdims=True)
    grad_x = inv_std * (grad - mean_grad - normalised * mean_product)
    return grad_x, grad_weight, grad_bias
