"""What layers that draw random numbers share: a seed and a count of calls."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from normdrop.functional.rng import Rng, host_seed
from normdrop.layers.base import Layer

Saved = TypeVar("Saved")


class DrawingLayer(Layer[Saved], Generic[Saved]):
    """A layer whose calls in training are numbered; seed and number fix what a call draws."""

    def __init__(self, rng: Rng) -> None:
        super().__init__()
        seed, call = host_seed(self._class_name, rng)
        self.add_buffer("seed", np.array(seed, np.uint64))
        self.add_buffer("call", np.array(call, np.uint64))

    @property
    def seed(self) -> int:
        """The seed of all draws of this layer."""
        return int(self._buffers["seed"])

    @property
    def call(self) -> int:
        """Number of the next call in training; with the seed it fixes what that call draws."""
        return int(self._buffers["call"])

    def _drawn(self) -> tuple[int, int]:
        """Where the latest draw came from, or at inference the next one would."""
        return self.seed, self.call

    def _count_call(self) -> None:
        self._buffers["call"] += np.uint64(1)
