"""Dropout, inverted and in its original form (Srivastava et al., 2014)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from normdrop._arguments import probability
from normdrop._typing import AnyArray, Axis
from normdrop.functional import DropoutMask, dropout_backward, dropout_forward
from normdrop.functional.rng import Rng
from normdrop.layers.drawing import DrawingLayer

# The mask, and whether the call was one of training.
SavedMask = tuple[DropoutMask, bool]


class Dropout(DrawingLayer[SavedMask]):
    """Dropout of single elements, reproducible from a seed and a count of calls.

    Parameters
    ----------
    p : float
        Probability of DROPPING an element. With q = 1 - p the probability of keeping it:
    mode : {'inverted', 'original'}
        ``'inverted'`` divides by q in training and changes nothing at inference. ``'original'``,
        the papers' form, leaves kept elements as they are in training and multiplies by q at
        inference.
    shared_axes : int or tuple of int
        Axes along which one draw serves all: 0 of (T, N, D) uses one mask at all steps of a
        sequence (Gal and Ghahramani, 2016).
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
        shared_axes: Axis = (),
        rng: Rng = None,
    ) -> None:
        name = type(self).__name__
        if mode not in ("inverted", "original"):
            raise ValueError(f"{name}: mode must be 'inverted' or 'original', got {mode!r}")
        self.p = probability(name, p)
        self.mode = mode
        self.shared_axes = shared_axes
        super().__init__(rng)

    def __repr__(self) -> str:
        return f"{self._class_name}({self._settings()}, rng=({self.seed}, {self.call}))"

    def _settings(self) -> str:
        axes = f", shared_axes={self.shared_axes}" if self.shared_axes != () else ""
        return f"{self.p}, mode={self.mode!r}{axes}"

    def _axes(self, x: AnyArray) -> Axis:
        """Axes of x along which one draw serves all."""
        return self.shared_axes

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, SavedMask]:
        # With p = 0 the same function gives inference its checked, equal copy of x.
        p = self.p if training else 0.0
        y, mask = dropout_forward(x, p, rng=self._drawn(), shared_axes=self._axes(x))
        if training:
            self._count_call()
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
