"""Dropout, inverted and in its original form (Srivastava et al., 2014)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from normdrop._arguments import probability
from normdrop._typing import AnyArray
from normdrop.functional import DropoutMask, dropout_backward, dropout_forward
from normdrop.functional.rng import Rng, host_seed
from normdrop.layers.base import Layer

# The mask, and whether the call was one of training.
SavedMask = tuple[DropoutMask, bool]


class Dropout(Layer[SavedMask]):
    """Dropout of single elements, reproducible from a seed and a count of calls.

    Parameters
    ----------
    p : float
        Probability of DROPPING an element. With q = 1 - p the probability of keeping it:
    mode : {'inverted', 'original'}
        ``'inverted'`` divides by q in training and changes nothing at inference. ``'original'``,
        the papers' form, leaves kept elements as they are in training and multiplies by q at
        inference.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence
        Where the seed comes from: fresh entropy, the seed itself, a (seed, call) pair to go on
        from, one 64-bit draw of the generator, or the first 64-bit word of the sequence. Each
        call in training then uses its own mask.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import Dropout
    >>> layer = Dropout(0.5, rng=7)
    >>> y = layer(np.ones(6, dtype=np.float32))
    >>> sorted(set(y.tolist()) | {0.0, 2.0})
    [0.0, 2.0]
    >>> layer.seed, layer.call
    (7, 1)
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        mode: Literal["inverted", "original"] = "inverted",
        rng: Rng = None,
    ) -> None:
        super().__init__()
        if mode not in ("inverted", "original"):
            raise ValueError(f"Dropout: mode must be 'inverted' or 'original', got {mode!r}")
        self.p = probability("Dropout", p)
        self.mode = mode
        seed, call = host_seed("Dropout", rng)
        self.add_buffer("seed", np.array(seed, np.uint64))
        self.add_buffer("call", np.array(call, np.uint64))

    def __repr__(self) -> str:
        return f"Dropout({self.p}, mode={self.mode!r}, rng=({self.seed}, {self.call}))"

    @property
    def seed(self) -> int:
        """The seed of all masks of this layer."""
        return int(self._buffers["seed"])

    @property
    def call(self) -> int:
        """Number of the next call in training; with the seed it fixes that call's mask."""
        return int(self._buffers["call"])

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedMask]:
        # With p = 0 the same function gives inference its checked, equal copy of x.
        y, mask = dropout_forward(x, self.p if training else 0.0, rng=(self.seed, self.call))
        if training:
            self._buffers["call"] += np.uint64(1)
        return self._scaled(y, x, mask, training), (mask, training)

    def _backward(self, grad_output: AnyArray, saved: SavedMask) -> AnyArray:
        mask, training = saved
        return self._scaled(dropout_backward(grad_output, mask), grad_output, mask, training)

    def _scaled(
        self, dropped: AnyArray, source: AnyArray, mask: DropoutMask, training: bool
    ) -> AnyArray:
        """Turn the inverted form into the original one where that is asked for."""
        if self.mode == "original":
            if training:
                # Copied back rather than multiplied by q: kept elements stay exactly themselves.
                np.copyto(dropped, source, where=mask.keep)
            else:
                dropped *= 1.0 - self.p
        return dropped
