"""Dropout of more than single elements: feature maps and whole branches."""

from __future__ import annotations

from typing import Literal, SupportsIndex

from normdrop._arguments import integer
from normdrop._typing import AnyArray
from normdrop.functional.rng import Rng
from normdrop.layers.dropout import Dropout


class SpatialDropout(Dropout):
    """Dropout of whole feature maps (Tompson et al., 2015).

    Neighbours in a map are so much alike that dropping single ones takes little away.

    Parameters
    ----------
    p : float
        Probability of dropping a map.
    channel_axis : int
        1 for (N, C, L), (N, C, H, W), ...; -1 for (N, H, W, C). Axis 0 counts the samples; every
        sample and channel has a draw of its own.
    mode, rng
        As for :class:`Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import SpatialDropout
    >>> y = SpatialDropout(0.5, rng=7)(np.ones((1, 4, 2, 2)))
    >>> y.sum(axis=(2, 3))
    array([[0., 0., 8., 8.]])
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        channel_axis: SupportsIndex = 1,
        mode: Literal["inverted", "original"] = "inverted",
        rng: Rng = None,
    ) -> None:
        super().__init__(p, mode=mode, rng=rng)
        self.channel_axis = integer("SpatialDropout", "channel_axis", channel_axis)

    def _axes(self, x: AnyArray) -> tuple[int, ...]:
        rank = getattr(x, "ndim", 0)  # what is no array, the function refuses
        if rank and not -rank <= self.channel_axis < rank:
            raise ValueError(
                f"SpatialDropout: channel_axis must be from {-rank} to {rank - 1} for an array of "
                f"{rank} axes, got {self.channel_axis}"
            )
        return tuple(i for i in range(1, rank) if i != self.channel_axis % rank)

    def _settings(self) -> str:
        return f"{self.p}, channel_axis={self.channel_axis}, mode={self.mode!r}"


class DropPath(Dropout):
    """Stochastic depth: dropout of a residual branch (Huang et al., 2016, Larsson et al., 2017).

    Parameters
    ----------
    p : float
        Probability of dropping the branch.
    mode : {'inverted', 'original'}
        ``'inverted'``: a draw for each sample (axis 0), kept ones divided by q = 1 - p in training,
        nothing at inference. ``'original'``, as Huang et al. have it: one draw for all of the
        batch, kept as it is in training and multiplied by q at inference. The two differ by the
        factor q on the branch, so weights do not carry over from one to the other.
    rng
        As for :class:`Dropout`.

    Notes
    -----
    Put it behind the branch, before the sum: ``x + drop_path(branch(x))``. The original paper lets
    the probability of keeping fall linearly with depth: ``1 - p_l = 1 - l / L * (1 - q_L)`` for
    blocks l = 1 to L, with q_L = 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import DropPath
    >>> DropPath(0.5, rng=7)(np.ones((4, 2)))
    array([[0., 0.],
           [0., 0.],
           [2., 2.],
           [2., 2.]])
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        mode: Literal["inverted", "original"] = "inverted",
        rng: Rng = None,
    ) -> None:
        super().__init__(p, mode=mode, rng=rng)

    def _axes(self, x: AnyArray) -> tuple[int, ...]:
        first = 0 if self.mode == "original" else 1
        return tuple(range(first, getattr(x, "ndim", 0)))
