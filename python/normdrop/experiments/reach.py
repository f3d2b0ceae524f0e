"""How far the differences between images reach up a network, and the gradient down it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from normdrop.experiments.network import Linear, Sequential, Sigmoid, softmax_cross_entropy
from normdrop.layers.base import AnyArray


class Reach(NamedTuple):
    """What one batch shows of the hidden layers, from the first to the last.

    Attributes
    ----------
    shares : list of float
        How much of the variance of the sigmoids' inputs lies between images; see
        :func:`between_share`.
    gradients : list of float
        Root mean square of the gradient of the loss with respect to the weights.
    """

    shares: list[float]
    gradients: list[float]


def measure_reach(network: Sequential, images: AnyArray, labels: npt.NDArray[np.int64]) -> Reach:
    """Pass one batch forward and back as in training, without a step.

    Batch norms take note of the batch in their running statistics, so hand in a network that is
    not trained further.
    """
    shares = []
    x = images
    for layer in network.layers:
        if isinstance(layer, Sigmoid):
            shares.append(between_share(x))
        x = layer(x, training=True)
    network.backward(softmax_cross_entropy(x, labels)[1])
    linear = [layer for layer in network.layers if isinstance(layer, Linear)]
    weights = [layer.gradients()["weight"].astype(np.float64) for layer in linear]
    return Reach(shares, [float(np.sqrt(np.mean(w * w))) for w in weights[: len(shares)]])


def between_share(x: AnyArray) -> float:
    """Compute the share of the variance of x (images, units) that lies between images.

    The whole variance is over images and units; the rest is a pattern over the units that all
    images have in common. 1: no such pattern. 0: all images are alike.

    >>> between_share(np.array([[-1.0, 3.0], [1.0, -3.0]]))
    1.0
    >>> between_share(np.array([[-1.0, 3.0], [-1.0, 3.0]]))
    0.0
    """
    values = x.astype(np.float64)
    whole = float(values.var())
    return float(values.var(axis=0).mean()) / whole if whole > 0.0 else 0.0
