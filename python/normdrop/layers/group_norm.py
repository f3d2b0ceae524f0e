"""Group normalisation (Wu and He, 2018)."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._arguments import epsilon, flag, integer
from normdrop._typing import AnyArray
from normdrop.functional import group_norm_backward, group_norm_forward
from normdrop.layers.affine import AffineLayer
from normdrop.layers.channels import channel_count, check_channels
from normdrop.results import NormStats

SavedGroups = tuple[AnyArray, NormStats]


class GroupNorm(AffineLayer[SavedGroups]):
    """Group norm of each sample; the same in training and at inference.

    Parameters
    ----------
    num_groups : int
        Number of groups; it divides ``num_channels``.
    num_channels : int
        Number of channels.
    channel_axis : int
        Axis of ``x`` that counts the channels: 1 for (N, C) and NCHW, -1 for NHWC.
    eps : float
        Added to the variance inside the square root.
    affine : bool
        Whether there are a weight and a bias, one per channel.
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Without parameters ``x`` may have any of the four.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import GroupNorm
    >>> layer = GroupNorm(2, 4, eps=0.0)
    >>> layer(np.array([[1.0, 3.0, 10.0, 30.0]], dtype=np.float32))
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        num_groups: SupportsIndex,
        num_channels: SupportsIndex,
        *,
        channel_axis: SupportsIndex = 1,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_groups = channel_count("GroupNorm", "num_groups", num_groups, least=1)
        self.num_channels = channel_count("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"GroupNorm: num_groups must divide num_channels {self.num_channels}, "
                f"got {self.num_groups}"
            )
        self.channel_axis = integer("GroupNorm", "channel_axis", channel_axis)
        self.eps = epsilon("GroupNorm", eps)
        affine = flag("GroupNorm", "affine", affine)
        super().__init__((self.num_channels,), weight=affine, bias=affine, dtype=dtype)

    def __repr__(self) -> str:
        return (
            f"GroupNorm({self.num_groups}, {self.num_channels}, "
            f"channel_axis={self.channel_axis}, eps={self.eps})"
        )

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedGroups]:
        self._check_x_dtype(x, f"{self.num_groups}, {self.num_channels}")
        check_channels("GroupNorm", "num_channels", self.num_channels, x, self.channel_axis)
        y, stats = group_norm_forward(
            x,
            self.num_groups,
            self.weight,
            self.bias,
            channel_axis=self.channel_axis,
            eps=self.eps,
        )
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedGroups) -> AnyArray:
        x, stats = saved
        gradients = group_norm_backward(
            grad_output,
            x,
            stats,
            self.num_groups,
            self.weight,
            channel_axis=self.channel_axis,
            bias=self.bias is not None,
        )
        return self._keep_gradients(gradients)
