"""The layers that the tests of ``normdrop.layers`` run over, and their data."""

from __future__ import annotations

import numpy as np

from cases import normal, parameter
from normdrop.layers import BatchNorm, Dropout, LayerNorm

ALL_LAYERS = {
    "BatchNorm": lambda: BatchNorm(5, dtype=np.float64),
    "LayerNorm": lambda: LayerNorm(5, dtype=np.float64),
    "Dropout": lambda: Dropout(0.4, rng=3),
    "Dropout original": lambda: Dropout(0.4, mode="original", rng=3),
}


def data(name="x", rows=7, dtype=np.float64):
    return normal((rows, 5), dtype, name)


def randomise(layer):
    for name, array in layer.parameters().items():
        array[...] = parameter(array.shape, array.dtype, name)
