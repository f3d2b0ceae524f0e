"""Root mean square normalisation (Zhang and Sennrich, 2019)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from normdrop._arguments import flag
from normdrop._typing import Axis, FloatArray
from normdrop.functional import rms_norm_backward, rms_norm_forward
from normdrop.layers.rows import RowNorm, Sizes
from normdrop.results import NormStats


class RMSNorm(RowNorm[NormStats[FloatArray, None]]):
    """RMS norm over neighbouring axes; the same in training and at inference.

    Parameters
    ----------
    normalized_shape : int, or tuple or list of int
        Shape of ``x`` along the normalised axes, and of the parameters.
    axis : int, tuple of int or None
        The normalised axes; None stands for the last ones, as many as ``normalized_shape`` has.
    eps : float
        Added to the mean square inside the root. PyTorch's default is the machine epsilon of the
        dtype instead: 1.1920929e-07 for float32.
    affine : bool
        Whether there is a weight.
    bias : bool
        True adds a bias to an affine layer, which neither the paper nor PyTorch has.
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Without parameters ``x`` may have any of the four.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import RMSNorm
    >>> layer = RMSNorm(4, eps=0.0)
    >>> layer(np.array([[2.0, -2.0, 2.0, 2.0]], dtype=np.float32))
    array([[ 1., -1.,  1.,  1.]], dtype=float32)
    """

    _normalise = staticmethod(rms_norm_forward)
    _differentiate = staticmethod(rms_norm_backward)

    def __init__(
        self,
        normalized_shape: Sizes,
        *,
        axis: Axis | None = None,
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = False,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        weight = flag("RMSNorm", "affine", affine)
        bias = flag("RMSNorm", "bias", bias) and weight
        super().__init__(
            normalized_shape, axis=axis, eps=eps, weight=weight, bias=bias, dtype=dtype
        )
