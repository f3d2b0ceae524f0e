"""Batch normalisation with running statistics (Ioffe and Szegedy, 2015)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from normdrop.functional import (
    batch_norm,
    batch_norm_backward,
    batch_norm_forward,
    update_running_stats,
)
from normdrop.layers.affine import AffineLayer
from normdrop.layers.base import AnyArray
from normdrop.results import BatchStats

# x, and the statistics of its batch; None where the running ones were used.
SavedBatch = tuple[AnyArray, BatchStats | None]


class BatchNorm(AffineLayer[SavedBatch]):
    """Batch norm of each channel, with running statistics for inference.

    In training, each channel is normalised by the mean and biased variance of its batch, which
    also move the running statistics. At inference the running statistics are used, and a backward
    then treats them as constants.

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
    dtype : dtype
        Of the parameters and ``x``: float16, bfloat16, float32 or float64. With float32, ``x`` may
        be float16 or bfloat16 too. Running statistics are float64 always.

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
        num_features: int,
        *,
        channel_axis: int = 1,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        correction: int = 1,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__((num_features,), weight=affine, bias=affine, dtype=dtype)
        if momentum is not None and not 0.0 <= momentum <= 1.0:
            raise ValueError(f"BatchNorm: momentum must be None or in [0, 1], got {momentum}")
        if correction not in (0, 1):
            raise ValueError(f"BatchNorm: correction must be 0 or 1, got {correction}")
        self.num_features = num_features
        self.channel_axis = channel_axis
        self.eps = eps
        self.momentum = momentum
        self.correction = correction
        self._buffers["running_mean"] = np.zeros(num_features)
        self._buffers["running_var"] = np.ones(num_features)
        self._buffers["num_batches_tracked"] = np.array(0, np.int64)

    def __repr__(self) -> str:
        return (
            f"BatchNorm({self.num_features}, channel_axis={self.channel_axis}, eps={self.eps}, "
            f"momentum={self.momentum})"
        )

    @property
    def running_mean(self) -> npt.NDArray[np.float64]:
        """Running mean of each channel, shape (C,)."""
        return self._buffers["running_mean"]

    @property
    def running_var(self) -> npt.NDArray[np.float64]:
        """Running variance of each channel, shape (C,)."""
        return self._buffers["running_var"]

    @property
    def num_batches_tracked(self) -> int:
        """Number of batches that the running statistics have seen."""
        return int(self._buffers["num_batches_tracked"])

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
            No batch at all, or one with fewer than two values per channel.
        """
        self._saved = None
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
        self.running_mean[...] = mean
        self.running_var[...] = var
        self._buffers["num_batches_tracked"][...] = tracked

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedBatch]:
        if not training:
            y = batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                channel_axis=self.channel_axis,
                eps=self.eps,
            )
            return y, (x, None)
        y, stats = batch_norm_forward(
            x, self.weight, self.bias, channel_axis=self.channel_axis, eps=self.eps
        )
        self._track(stats)
        return y, (x, stats)

    def _backward(self, grad_output: AnyArray, saved: SavedBatch) -> AnyArray:
        x, stats = saved
        frozen = stats is None
        if stats is None:
            stats = BatchStats.from_running(self.running_mean, self.running_var, self.eps)
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
        tracked = self.num_batches_tracked + 1
        update_running_stats(
            self.running_mean,
            self.running_var,
            stats,
            momentum=1.0 / tracked if self.momentum is None else self.momentum,
            correction=self.correction,
        )
        self._buffers["num_batches_tracked"][...] = tracked

    def _batch_stats(self, x: AnyArray) -> BatchStats:
        _, stats = batch_norm_forward(x, channel_axis=self.channel_axis, eps=self.eps)
        if stats.mean.shape != (self.num_features,):
            raise ValueError(
                f"BatchNorm: x must have {self.num_features} channels along axis "
                f"{self.channel_axis}, got shape {x.shape}"
            )
        return stats
