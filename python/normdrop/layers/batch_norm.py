"""Batch normalisation with running statistics (Ioffe and Szegedy, 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop._arguments import epsilon, flag, integer, real_number
from normdrop._typing import AnyArray, FloatArray
from normdrop.functional import (
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    update_running_stats,
)
from normdrop.layers.affine import AffineLayer
from normdrop.layers.channels import channel_count, check_channels
from normdrop.results import BatchStats

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

# x, and the statistics of its batch; None where the running ones were used.
SavedBatch = tuple[AnyArray, BatchStats | None]


class BatchNorm(AffineLayer[SavedBatch]):
    """Batch norm of each channel, with running statistics for inference.

    In training, each channel is normalised by the mean and biased variance of its batch, which
    also move the running statistics. At inference the running statistics are used. A backward
    then treats them as constants; ask for it by ``layer(x, training=False, for_backward=True)``.

    Parameters
    ----------
    num_features : int
        Number of channels.
    channel_axis : int
        Axis of ``x`` that counts the channels: 1 for (N, C) and NCHW, -1 for NHWC.
    eps : float
        Added to the variance inside the square root.
    momentum : float or None
        Weight of the NEW batch in the running statistics. None keeps their arithmetic mean over
        all batches seen.
    affine : bool
        Whether there are a weight and a bias.
    correction : {0, 1}
        1 stores the unbiased variance (as PyTorch does), 0 the biased one (Keras, Flax, ONNX).
    track_running_stats : bool
        False keeps no running statistics: those of the batch are used at inference too.
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Without parameters ``x`` may have any of the four. Running
        statistics are float64 always.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import BatchNorm
    >>> layer = BatchNorm(2, eps=0.0)
    >>> x = np.array([[0.0, 5.0], [2.0, 1.0]], dtype=np.float32)
    >>> layer(x)
    array([[-1.,  1.],
           [ 1., -1.]], dtype=float32)
    >>> layer.running_mean
    array([0.1, 0.3])
    """

    def __init__(
        self,
        num_features: SupportsIndex,
        *,
        channel_axis: SupportsIndex = 1,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        correction: SupportsIndex = 1,
        track_running_stats: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.num_features = channel_count("BatchNorm", "num_features", num_features)
        self.channel_axis = integer("BatchNorm", "channel_axis", channel_axis)
        self.eps = epsilon("BatchNorm", eps)
        self.momentum = _momentum(momentum)
        self.correction = _correction(correction)
        self.track_running_stats = flag("BatchNorm", "track_running_stats", track_running_stats)
        affine = flag("BatchNorm", "affine", affine)
        super().__init__((self.num_features,), weight=affine, bias=affine, dtype=dtype)
        if self.track_running_stats:
            self.add_buffer("running_mean", np.zeros(self.num_features))
            self.add_buffer("running_var", np.ones(self.num_features))
            self.add_buffer("num_batches_tracked", np.array(0, np.int64))

    def __repr__(self) -> str:
        return (
            f"BatchNorm({self.num_features}, channel_axis={self.channel_axis}, eps={self.eps}, "
            f"momentum={self.momentum})"
        )

    @property
    def running_mean(self) -> FloatArray | None:
        """Running mean of each channel, shape (C,); None where none is kept."""
        return self._buffers.get("running_mean")

    @property
    def running_var(self) -> FloatArray | None:
        """Running variance of each channel, shape (C,); None where none is kept."""
        return self._buffers.get("running_var")

    @property
    def num_batches_tracked(self) -> int | None:
        """Number of batches that the running statistics have seen; None without statistics."""
        return int(self._buffers["num_batches_tracked"]) if self.track_running_stats else None

    def estimate_population(self, batches: Iterable[AnyArray]) -> None:
        """Replace the running statistics by population estimates (the paper's Algorithm 2).

        ``mean = E[mean_b]`` and ``var = E[m_b / (m_b - 1) * var_b]`` over the batches, each
        weighted by its size m_b. Drawn with replacement, such batches estimate the population
        variance without bias; a partition of a finite set into batches estimates the variance
        with N - 1 in the denominator instead. The parameters stay as they are.

        Parameters
        ----------
        batches : iterable of ndarray
            Inputs of this layer, as training would see them; sizes may differ.

        Raises
        ------
        ValueError
            No batch at all, or one with fewer than two values per channel; a layer with
            ``track_running_stats=False``.
        """
        if not self.track_running_stats:
            raise ValueError(
                "BatchNorm: estimate_population needs track_running_stats=True, got False"
            )
        self._forget()
        mean = np.zeros(self.num_features)
        var = np.zeros(self.num_features)
        total = tracked = 0
        for batch in batches:
            stats = self._batch_stats(batch)
            total += stats.count
            tracked += 1
            share = stats.count / total  # a running mean stays in range where a sum may not
            mean += share * (stats.mean - mean)
            var += share * (stats.var * (stats.count / (stats.count - 1)) - var)
        if not tracked:
            raise ValueError("BatchNorm: estimate_population needs at least one batch, got none")
        for name, value in zip(_STATISTICS, (mean, var, tracked), strict=True):
            self._buffers[name][...] = value

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedBatch]:
        self._check_x_dtype(x, self.num_features)
        self._check_channels(x)
        if self.track_running_stats and not training:
            y = batch_norm(
                x,
                self._buffers["running_mean"],
                self._buffers["running_var"],
                self.weight,
                self.bias,
                channel_axis=self.channel_axis,
                eps=self.eps,
            )
            return y, (x, None)
        y, stats = batch_norm_forward(
            x, self.weight, self.bias, channel_axis=self.channel_axis, eps=self.eps
        )
        if self.track_running_stats:
            self._track(stats)
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedBatch) -> AnyArray:
        x, stats = saved
        frozen = stats is None
        if stats is None:
            stats = BatchStats.from_running(
                self._buffers["running_mean"], self._buffers["running_var"], self.eps
            )
        gradients = batch_norm_backward(
            grad_output,
            x,
            stats,
            self.weight,
            channel_axis=self.channel_axis,
            frozen=frozen,
            bias=self.bias is not None,
        )
        return self._keep_gradients(gradients)

    def _track(self, stats: BatchStats) -> None:
        """Move the running statistics towards those of one batch, and count it."""
        mean, var, count = (self._buffers[name] for name in _STATISTICS)
        tracked = int(count) + 1
        update_running_stats(
            mean,
            var,
            stats,
            momentum=1.0 / tracked if self.momentum is None else self.momentum,
            correction=self.correction,
        )
        count[...] = tracked

    def _batch_stats(self, x: AnyArray) -> BatchStats:
        self._check_channels(x)
        return batch_norm_forward(x, channel_axis=self.channel_axis, eps=self.eps)[1]

    def _check_channels(self, x: AnyArray) -> None:
        check_channels("BatchNorm", "num_features", self.num_features, x, self.channel_axis)


def _momentum(momentum: object) -> float | None:
    if momentum is None:
        return None
    found = real_number("BatchNorm", "momentum", momentum, "None or ")
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"BatchNorm: momentum must be None or in [0, 1], got {momentum}")
    return found


def _correction(correction: object) -> int:
    found = integer("BatchNorm", "correction", correction)
    if found not in (0, 1):
        raise ValueError(f"BatchNorm: correction must be 0 or 1, got {found}")
    return found
