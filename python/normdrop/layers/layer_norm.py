"""Layer normalisation (Ba, Kiros and Hinton, 2016)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from normdrop._arguments import flag
from normdrop._typing import Axis
from normdrop.functional import layer_norm_backward, layer_norm_forward
from normdrop.layers.rows import RowNorm, Sizes
from normdrop.results import NormStats


class LayerNorm(RowNorm[NormStats]):
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

    _normalise = staticmethod(layer_norm_forward)
    _differentiate = staticmethod(layer_norm_backward)

    def __init__(
        self,
        normalized_shape: Sizes,
        *,
        axis: Axis | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        weight = flag("LayerNorm", "affine", affine)
        bias = flag("LayerNorm", "bias", bias) and weight
        super().__init__(
            normalized_shape, axis=axis, eps=eps, weight=weight, bias=bias, dtype=dtype
        )
