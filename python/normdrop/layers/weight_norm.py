"""Weight normalisation of another layer (Salimans and Kingma, 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from normdrop._arguments import integer
from normdrop._typing import AnyArray, FloatArray
from normdrop.functional import weight_norm, weight_norm_backward, weight_norm_forward
from normdrop.layers.base import Layer


class WeightNorm(Layer[FloatArray]):
    """A layer whose weight is ``g * v / norm(v)``: a length and a direction for each unit.

    Before each call the weight of the layer inside is computed from ``g`` and ``v``, which are
    trained in its place. At first they give the weight that the layer has.

    Parameters
    ----------
    layer : Layer
        A layer with a parameter ``weight``. It belongs to this one from now on: its other arrays
        go by their own names, and its weight is overwritten.
    axis : int
        The axis of the weight that is kept, that of output units.

    Raises
    ------
    TypeError
        What is no Layer.
    ValueError
        A layer without a weight, an axis that the weight does not have, or a unit whose weight is
        0 and so has no direction.

    Notes
    -----
    The names are those of PyTorch's ``torch.nn.utils.weight_norm``: ``weight_g``, of the shape of
    the weight with 1 for every axis but the one that is kept, and ``weight_v``. A state with the
    names of ``torch.nn.utils.parametrizations.weight_norm``,
    ``parametrizations.weight.original0`` and ``original1``, is loaded as well.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.experiments.network import Linear
    >>> from normdrop.layers import WeightNorm
    >>> layer = WeightNorm(Linear(3, 2, np.random.default_rng(0)))
    >>> list(layer.parameters())
    ['weight_g', 'weight_v', 'bias']
    >>> layer.weight_g[...] = 5.0
    >>> np.linalg.norm(layer.weight, axis=1).round(5)
    array([5., 5.], dtype=float32)
    """

    _other_names: ClassVar[Mapping[str, str]] = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }

    def __init__(self, layer: Layer[Any], *, axis: SupportsIndex = 0) -> None:
        super().__init__()
        if not isinstance(layer, Layer):
            raise TypeError(f"WeightNorm: layer must be a Layer, got {type(layer).__name__}")
        if "weight" not in layer._parameters:
            raise ValueError(
                "WeightNorm: layer must have a parameter 'weight', got "
                f"{type(layer).__name__} with {list(layer._parameters)}"
            )
        weight = layer._parameters["weight"]
        self.axis = _kept_axis(axis, weight.ndim)
        self.layer = layer
        self.add_parameter("weight_g", _lengths(weight, self.axis))
        self.add_parameter("weight_v", weight.copy())
        for name, array in layer._parameters.items():
            if name != "weight":
                self.add_parameter(name, array)
        for name, array in layer._buffers.items():
            self.add_buffer(name, array)
        for name, inner in layer.children().items():
            self.add_layer(name, inner)
        self.training = layer.training

    def __repr__(self) -> str:
        return f"WeightNorm({self.layer!r}, axis={self.axis})"

    @property
    def weight_g(self) -> AnyArray:
        """The length of each unit's weight."""
        return self._parameters["weight_g"]

    @property
    def weight_v(self) -> AnyArray:
        """The direction of each unit's weight, at any length."""
        return self._parameters["weight_v"]

    @property
    def weight(self) -> AnyArray:
        """The weight that the next call will use: a new array."""
        return weight_norm(self.weight_v, self.weight_g.reshape(-1), axis=self.axis)

    def train(self, mode: bool = True) -> WeightNorm:
        """Set the mode of this layer and of the one inside; return the layer itself."""
        super().train(mode)
        self.layer.train(mode)
        return self

    def _forward_with_inner(
        self, x: AnyArray, training: bool, keep: bool
    ) -> tuple[AnyArray, FloatArray]:
        lengths, weight = self.weight_g.reshape(-1), self.layer._parameters["weight"]
        _, norm = weight_norm_forward(self.weight_v, lengths, axis=self.axis, out=weight)
        return self.layer(x, training, for_backward=keep), norm

    def _backward(self, grad_output: AnyArray, saved: FloatArray) -> AnyArray:
        grad_x = self.layer.backward(grad_output)
        gradients = dict(self.layer._gradients)
        grad_v, grad_g = weight_norm_backward(
            gradients.pop("weight"),
            self.weight_v,
            self.weight_g.reshape(-1),
            saved,
            axis=self.axis,
        )
        self.set_gradient("weight_g", grad_g.reshape(self.weight_g.shape))
        self.set_gradient("weight_v", grad_v)
        for name, gradient in gradients.items():
            self.set_gradient(name, gradient)
        return grad_x

    def _forget(self) -> None:
        super()._forget()
        self.layer._forget()


def _kept_axis(axis: object, ndim: int) -> int:
    kept = integer("WeightNorm", "axis", axis)
    if not -ndim <= kept < ndim:
        raise ValueError(f"WeightNorm: axis must be one of the {ndim} of the weight, got {kept}")
    return kept


def _lengths(weight: AnyArray, axis: int) -> AnyArray:
    """Norms of the units of a weight, shaped to broadcast against it."""
    _, norm = weight_norm_forward(weight, np.ones(weight.shape[axis], weight.dtype), axis=axis)
    if not norm.all():
        raise ValueError(
            "WeightNorm: layer.weight must not be 0 in all of a unit, which then has no "
            f"direction, got 0 at index {int(np.argmin(norm))} of axis {axis}"
        )
    shape = [1] * weight.ndim
    shape[axis] = weight.shape[axis]
    return norm.astype(weight.dtype).reshape(shape)
