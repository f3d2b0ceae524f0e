"""Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016)."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._arguments import epsilon, flag, integer
from normdrop._typing import AnyArray
from normdrop.functional import instance_norm_backward, instance_norm_forward
from normdrop.layers.affine import AffineLayer
from normdrop.layers.channels import channel_count, check_channels
from normdrop.results import NormStats

SavedInstances = tuple[AnyArray, NormStats]


class InstanceNorm(AffineLayer[SavedInstances]):
    """Instance norm of each channel of each sample; the same in training and at inference.

    Parameters
    ----------
    num_features : int
        Number of channels.
    channel_axis : int
        Axis of ``x`` that counts the channels: 1 for NCHW, -1 for NHWC.
    eps : float
        Added to the variance inside the square root.
    affine : bool
        Whether there are a weight and a bias; as in PyTorch there are none by default.
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Without parameters ``x`` may have any of the four.

    Notes
    -----
    There are no running statistics: with them a layer would be a batch norm at inference.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import InstanceNorm
    >>> layer = InstanceNorm(2, eps=0.0)
    >>> layer(np.array([[[1.0, 3.0], [10.0, 30.0]]], dtype=np.float32))
    array([[[-1.,  1.],
            [-1.,  1.]]], dtype=float32)
    """

    def __init__(
        self,
        num_features: SupportsIndex,
        *,
        channel_axis: SupportsIndex = 1,
        eps: float = 1e-5,
        affine: bool = False,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_features = channel_count("InstanceNorm", "num_features", num_features)
        self.channel_axis = integer("InstanceNorm", "channel_axis", channel_axis)
        self.eps = epsilon("InstanceNorm", eps)
        affine = flag("InstanceNorm", "affine", affine)
        super().__init__((self.num_features,), weight=affine, bias=affine, dtype=dtype)

    def __repr__(self) -> str:
        return (
            f"InstanceNorm({self.num_features}, channel_axis={self.channel_axis}, eps={self.eps})"
        )

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedInstances]:
        self._check_x_dtype(x, self.num_features)
        check_channels("InstanceNorm", "num_features", self.num_features, x, self.channel_axis)
        y, stats = instance_norm_forward(
            x, self.weight, self.bias, channel_axis=self.channel_axis, eps=self.eps
        )
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedInstances) -> AnyArray:
        x, stats = saved
        gradients = instance_norm_backward(
            grad_output,
            x,
            stats,
            self.weight,
            channel_axis=self.channel_axis,
            bias=self.bias is not None,
        )
        return self._keep_gradients(gradients)
