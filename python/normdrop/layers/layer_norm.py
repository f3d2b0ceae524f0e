"""Layer normalisation (Ba, Kiros and Hinton, 2016)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from normdrop.functional import layer_norm_backward, layer_norm_forward
from normdrop.layers.affine import AffineLayer
from normdrop.layers.base import AnyArray
from normdrop.results import NormStats

SavedRows = tuple[AnyArray, NormStats]


class LayerNorm(AffineLayer[SavedRows]):
    """Layer norm over neighbouring axes; the same in training and at inference.

    Parameters
    ----------
    normalized_shape : int or tuple of int
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
        Of ``x`` and the parameters: float32 or float64.

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
        normalized_shape: int | tuple[int, ...],
        *,
        axis: int | tuple[int, ...] | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        shape = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
        super().__init__(shape, weight=affine, bias=affine and bias, dtype=dtype)
        self.normalized_shape = shape
        self.axis = tuple(range(-len(shape), 0)) if axis is None else axis
        self.eps = eps

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape}, axis={self.axis}, eps={self.eps})"

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedRows]:
        y, stats = layer_norm_forward(x, self.weight, self.bias, axis=self.axis, eps=self.eps)
        if self.weight is None:
            self._check_shape(x)
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedRows) -> AnyArray:
        x, stats = saved
        gradients = layer_norm_backward(
            grad_output, x, stats, self.weight, axis=self.axis, bias=self.bias is not None
        )
        return self._keep_gradients(gradients)

    def _check_shape(self, x: AnyArray) -> None:
        """Check what the weight's shape would otherwise have caught."""
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        found = tuple(x.shape[axis] for axis in sorted(axis % x.ndim for axis in axes))
        if found != self.normalized_shape:
            raise ValueError(
                f"LayerNorm: x must have shape {self.normalized_shape} along axis {self.axis}, "
                f"got {found} in {x.shape}"
            )
