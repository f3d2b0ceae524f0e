"""A network in NumPy around the layers of normdrop: read from top to bottom, it is the example.

>>> import numpy as np
>>> from normdrop.layers import BatchNorm, Dropout
>>> rng = np.random.default_rng(0)
>>> network = Sequential(
...     Linear(8, 16, rng, bias=False), BatchNorm(16), Sigmoid(), Dropout(0.2, rng=rng),
...     Linear(16, 2, rng),
... )
>>> optimiser = MomentumSGD(network, learning_rate=0.1)
>>> x = rng.standard_normal((64, 8), dtype=np.float32)
>>> labels = (x[:, 0] > 0).astype(np.int64)
>>> for step in range(200):
...     loss, grad_logits = softmax_cross_entropy(network(x, training=True), labels)
...     _ = network.backward(grad_logits)
...     optimiser.step()
>>> accuracy(network(x, training=False), labels) > 0.95
True
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from normdrop.layers import Layer
from normdrop.layers.base import AnyArray

Labels = npt.NDArray[np.int64]


class Linear(Layer[AnyArray]):
    """``y = x @ weight.T + bias`` for rows x.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of a row of x and of y.
    rng : numpy.random.Generator
        Draws the initial weight from a normal distribution; the bias starts at 0.
    scale : float
        Standard deviation of the initial weight.
    bias : bool
        A batch norm straight after this layer takes any bias out again: leave it out there.
    dtype : dtype
        float32 or float64.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rng: np.random.Generator,
        *,
        scale: float = 0.1,
        bias: bool = True,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        weight = scale * rng.standard_normal((out_features, in_features))
        self.weight = self.add_parameter("weight", weight.astype(dtype))
        self.bias = self.add_parameter("bias", np.zeros(out_features, dtype)) if bias else None

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, AnyArray]:
        y = x @ self.weight.T
        if self.bias is not None:
            y += self.bias
        return y, x

    def _backward(self, grad_output: AnyArray, saved: AnyArray) -> AnyArray:
        self.set_gradient("weight", grad_output.T @ saved)
        if self.bias is not None:
            self.set_gradient("bias", grad_output.sum(axis=0))
        return grad_output @ self.weight


class Sigmoid(Layer[AnyArray]):
    """``1 / (1 + exp(-x))``."""

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, AnyArray]:
        y = np.tanh(0.5 * x)  # through tanh, because exp(-x) overflows for a very negative x
        y += 1.0
        y *= 0.5
        return y, y

    def _backward(self, grad_output: AnyArray, saved: AnyArray) -> AnyArray:
        return grad_output * saved * (1.0 - saved)


class ReLU(Layer[npt.NDArray[np.bool_]]):
    """``max(x, 0)``; its slope at 0 is taken as 0."""

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, npt.NDArray[np.bool_]]:
        return np.maximum(x, 0.0), x > 0.0

    def _backward(self, grad_output: AnyArray, saved: npt.NDArray[np.bool_]) -> AnyArray:
        return grad_output * saved


class Sequential(Layer[None]):
    """Layers one after another; their arrays are named ``'0.weight'``, ``'0.bias'``, ...

    Parameters
    ----------
    *layers : Layer
        In the order in which x passes them.
    """

    def __init__(self, *layers: Layer[Any]) -> None:
        super().__init__()
        self.layers = layers
        for index, layer in enumerate(layers):
            self.add_layer(str(index), layer)

    def __call__(
        self, x: AnyArray, training: bool | None = None, *, for_backward: bool | None = None
    ) -> AnyArray:
        """Apply all layers, in order; each keeps its own mode unless ``training`` says it."""
        for layer in self.layers:
            x = layer(x, training, for_backward=for_backward)
        return x

    def __getitem__(self, part: slice) -> Sequential:
        """Take some of the layers, shared with this network: ``network[:3]`` is its first three."""
        return Sequential(*self.layers[part])

    def backward(self, grad_output: AnyArray) -> AnyArray:
        """Differentiate the latest call by its x, and fill every layer's gradients."""
        for layer in reversed(self.layers):
            grad_output = layer.backward(grad_output)
        return grad_output


class MomentumSGD:
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    ``velocity = momentum * velocity + gradient``, ``parameter -= learning_rate * velocity``.

    Parameters
    ----------
    network : Layer
        Whose parameters are updated in place.
    learning_rate : float
        Length of a step.
    momentum : float
        Share of the old velocity that is kept.
    """

    def __init__(self, network: Layer[Any], learning_rate: float, momentum: float = 0.9) -> None:
        self.network = network
        self.learning_rate = learning_rate
        self.momentum = momentum
        self._velocity = {name: np.zeros_like(a) for name, a in network.parameters().items()}

    def step(self) -> None:
        """Apply the gradients of the latest backward."""
        gradients = self.network.gradients()
        for name, parameter in self.network.parameters().items():
            velocity = self._velocity[name]
            velocity *= self.momentum
            velocity += gradients[name]
            parameter -= self.learning_rate * velocity


def softmax_cross_entropy(logits: AnyArray, labels: Labels) -> tuple[float, AnyArray]:
    """Compute the mean cross-entropy of a softmax, and its gradient with respect to the logits.

    Parameters
    ----------
    logits : ndarray, shape (N, classes)
        Output of the network.
    labels : ndarray of int, shape (N,)
        The right classes.

    Returns
    -------
    float
        Mean over the rows, in nats.
    ndarray, shape (N, classes)
        Gradient of that mean.
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad_logits = np.exp(log_probabilities)
    grad_logits[rows, labels] -= 1.0
    grad_logits /= len(labels)
    return -float(log_probabilities[rows, labels].mean()), grad_logits


def accuracy(logits: AnyArray, labels: Labels) -> float:
    """Compute the share of the rows whose largest logit is that of the right class."""
    return float((logits.argmax(axis=1) == labels).mean())
