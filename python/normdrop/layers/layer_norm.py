"""Layer normalisation (Ba, Kiros and Hinton, 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._arguments import epsilon, flag, integer
from normdrop._typing import AnyArray, Axis
from normdrop.functional import layer_norm_backward, layer_norm_forward
from normdrop.layers.affine import AffineLayer
from normdrop.results import NormStats

SavedRows = tuple[AnyArray, NormStats]


class LayerNorm(AffineLayer[SavedRows]):
    """Layer norm over neighbouring axes; the same in training and at inference.

    Parameters
    ----------
    normalized_shape : int, or tuple or list of int
        Shape of ``x`` along the normalised axes, and of the parameters.
    axis : int, tuple of int or None
        The normalised axes; None stands for the last ones, as many as ``normalized_shape`` has.
    eps : float
        Added to the variance inside the square root.
    affine : bool
        Whether there is a weight, and a bias with it.
    bias : bool
        False leaves the bias out of an affine layer.
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Without parameters ``x`` may have any of the four.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import LayerNorm
    >>> layer = LayerNorm(4, eps=0.0)
    >>> layer(np.array([[1.0, 3.0, 1.0, 3.0]], dtype=np.float32))
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: SupportsIndex | tuple[SupportsIndex, ...] | list[SupportsIndex],
        *,
        axis: Axis | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        shape = _sizes(normalized_shape)
        self.normalized_shape = shape
        self.axis = tuple(range(-len(shape), 0)) if axis is None else _axes(axis, shape)
        self._over_the_last = axis is None
        self.eps = epsilon("LayerNorm", eps)
        weight = flag("LayerNorm", "affine", affine)
        bias = flag("LayerNorm", "bias", bias)
        super().__init__(shape, weight=weight, bias=weight and bias, dtype=dtype)

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape}, axis={self.axis}, eps={self.eps})"

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedRows]:
        self._check_x_dtype(x, self.normalized_shape)
        self._check_shape(x)
        y, stats = layer_norm_forward(x, self.weight, self.bias, axis=self.axis, eps=self.eps)
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedRows) -> AnyArray:
        x, stats = saved
        gradients = layer_norm_backward(
            grad_output, x, stats, self.weight, axis=self.axis, bias=self.bias is not None
        )
        return self._keep_gradients(gradients)

    def _check_shape(self, x: AnyArray) -> None:
        """Name the layer's shape rather than the weight's; the function checks the axes."""
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
                f"LayerNorm: x must have the normalized_shape {self.normalized_shape} along axis "
                f"{self.axis}, got {found} in {tuple(shape)}"
            )


def _sizes(normalized_shape: object) -> tuple[int, ...]:
    given = normalized_shape if isinstance(normalized_shape, (tuple, list)) else [normalized_shape]
    expected = "an integer, or a tuple or list of them"
    sizes = _integers("normalized_shape", given, expected)
    if not sizes or min(sizes) < 0:
        raise ValueError(
            f"LayerNorm: normalized_shape must have one size or more, each 0 or greater, "
            f"got {normalized_shape}"
        )
    return sizes


def _axes(axis: object, shape: tuple[int, ...]) -> int | tuple[int, ...]:
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = _integers("axis", given, "None, an integer or a tuple of them")
    if len(set(axes)) != len(shape) or len(axes) != len(shape):
        raise ValueError(
            f"LayerNorm: axis must name as many axes as normalized_shape {shape} has sizes, "
            f"got {axis}"
        )
    return axes if isinstance(axis, tuple) else axes[0]


def _integers(argument: str, values: Iterable[object], expected: str) -> tuple[int, ...]:
    return tuple(integer("LayerNorm", argument, value, expected) for value in values)
