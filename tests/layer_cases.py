"""The layers that the tests of ``normdrop.layers`` run over, and their data."""

from __future__ import annotations

import numpy as np

from cases import normal, parameter
from normdrop.layers import (
    AlphaDropout,
    BatchNorm,
    Dropout,
    DropPath,
    GaussianDropout,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PReLU,
    RMSNorm,
    SpatialDropout,
    UniformDropout,
    WeightNorm,
)

ALL_LAYERS = {
    "BatchNorm": lambda: BatchNorm(5, dtype=np.float64),
    "LayerNorm": lambda: LayerNorm(5, dtype=np.float64),
    "RMSNorm": lambda: RMSNorm(5, dtype=np.float64),
    "GroupNorm": lambda: GroupNorm(1, 5, dtype=np.float64),
    "InstanceNorm": lambda: InstanceNorm(5, affine=True, dtype=np.float64),
    "PReLU": lambda: PReLU(5, dtype=np.float64),
    "PReLU of one slope": lambda: PReLU(dtype=np.float64),
    "WeightNorm": lambda: WeightNorm(LayerNorm((7, 5), dtype=np.float64), axis=1),
    "Dropout": lambda: Dropout(0.4, rng=3),
    "Dropout original": lambda: Dropout(0.4, mode="original", rng=3),
    "Dropout locked": lambda: Dropout(0.4, shared_axes=0, rng=5),
    "SpatialDropout": lambda: SpatialDropout(0.4, rng=3),
    "DropPath": lambda: DropPath(0.4, rng=3),
    "DropPath original": lambda: DropPath(0.4, mode="original", rng=3),
    "AlphaDropout": lambda: AlphaDropout(0.4, rng=3),
    "GaussianDropout": lambda: GaussianDropout(0.4, rng=3),
    "UniformDropout": lambda: UniformDropout(0.4, rng=3),
}


def data(name="x", rows=7, dtype=np.float64):
    return normal((rows, 5), dtype, name)


def randomise(layer):
    for name, array in layer.parameters().items():
        array[...] = parameter(array.shape, array.dtype, name)
