"""What norms over neighbouring axes share: the shape along them, and checks of x against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import SupportsIndex, TypeVar

import numpy.typing as npt

from normdrop._arguments import epsilon, integer
from normdrop._typing import AnyArray, Axis
from normdrop.layers.affine import AffineLayer
from normdrop.results import Gradients

Stats = TypeVar("Stats")
Sizes = SupportsIndex | tuple[SupportsIndex, ...] | list[SupportsIndex]


class RowNorm(AffineLayer[tuple[AnyArray, Stats]]):
    """A norm over neighbouring axes, with parameters of the shape along them.

    A subclass names its functions, forward and backward.

    Parameters
    ----------
    normalized_shape : int, or tuple or list of int
        Shape of ``x`` along the normalised axes, and of the parameters.
    axis : int, tuple of int or None
        The normalised axes; None stands for the last ones, as many as ``normalized_shape`` has.
    eps : float
        0 or greater.
    weight, bias : bool
        Whether there is one.
    dtype : dtype
        Of the parameters.
    """

    _normalise: Callable[..., tuple[AnyArray, Stats]]
    _differentiate: Callable[..., Gradients]

    def __init__(
        self,
        normalized_shape: Sizes,
        *,
        axis: Axis | None,
        eps: float,
        weight: bool,
        bias: bool,
        dtype: npt.DTypeLike,
    ) -> None:
        shape = self._sizes(normalized_shape)
        self.normalized_shape = shape
        self.axis = tuple(range(-len(shape), 0)) if axis is None else self._axes(axis, shape)
        self._over_the_last = axis is None
        self.eps = epsilon(self._class_name, eps)
        super().__init__(shape, weight=weight, bias=bias, dtype=dtype)

    def __repr__(self) -> str:
        return f"{self._class_name}({self.normalized_shape}, axis={self.axis}, eps={self.eps})"

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, tuple[AnyArray, Stats]]:
        self._check(x)
        y, stats = self._normalise(x, self.weight, self.bias, axis=self.axis, eps=self.eps)
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: tuple[AnyArray, Stats]) -> AnyArray:
        x, stats = saved
        gradients = self._differentiate(
            grad_output, x, stats, self.weight, axis=self.axis, bias=self.bias is not None
        )
        return self._keep_gradients(gradients)

    def _check(self, x: AnyArray) -> None:
        """Name the layer's arguments rather than the weight; the function checks the axes."""
        self._check_x_dtype(x, self.normalized_shape)
        shape = getattr(x, "shape", None)
        if not isinstance(shape, tuple):
            return
        if self._over_the_last and shape[-len(self.normalized_shape) :] == self.normalized_shape:
            return
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        if not all(-len(shape) <= axis < len(shape) for axis in axes):
            return
        found = tuple(shape[axis] for axis in sorted(axis % len(shape) for axis in axes))
        if found != self.normalized_shape:
            raise ValueError(
                f"{self._class_name}: x must have the normalized_shape {self.normalized_shape} "
                f"along axis {self.axis}, got {found} in {tuple(shape)}"
            )

    def _sizes(self, normalized_shape: object) -> tuple[int, ...]:
        expected = "an integer, or a tuple or list of them"
        given = (
            normalized_shape if isinstance(normalized_shape, (tuple, list)) else [normalized_shape]
        )
        sizes = self._integers("normalized_shape", given, expected)
        if not sizes or min(sizes) < 0:
            raise ValueError(
                f"{self._class_name}: normalized_shape must have one size or more, each 0 or "
                f"greater, got {normalized_shape}"
            )
        return sizes

    def _axes(self, axis: object, shape: tuple[int, ...]) -> int | tuple[int, ...]:
        given = axis if isinstance(axis, tuple) else (axis,)
        axes = self._integers("axis", given, "None, an integer or a tuple of them")
        if len(set(axes)) != len(shape) or len(axes) != len(shape):
            raise ValueError(
                f"{self._class_name}: axis must name as many axes as normalized_shape {shape} has "
                f"sizes, got {axis}"
            )
        return axes if isinstance(axis, tuple) else axes[0]

    def _integers(self, argument: str, values: Iterable[object], expected: str) -> tuple[int, ...]:
        return tuple(integer(self._class_name, argument, value, expected) for value in values)
