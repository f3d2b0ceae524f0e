"""Noise that multiplies, or drops to SELU's lower limit: alpha, Gaussian and uniform dropout."""

from __future__ import annotations

from typing import Any

from normdrop._arguments import probability
from normdrop._typing import AnyArray, Axis
from normdrop.functional import (
    alpha_dropout_backward,
    alpha_dropout_forward,
    gaussian_dropout_backward,
    gaussian_dropout_forward,
    uniform_dropout_backward,
    uniform_dropout_forward,
)
from normdrop.functional.gaussian_dropout import probability_below_1
from normdrop.functional.rng import Rng
from normdrop.functional.uniform_dropout import deviation
from normdrop.layers.drawing import DrawingLayer


class NoiseLayer(DrawingLayer[Any]):
    """A layer that draws noise of some strength in training and is the identity at inference."""

    def __init__(self, strength: float, shared_axes: Axis, rng: Rng) -> None:
        super().__init__(rng)
        self._strength = strength
        self.shared_axes = shared_axes

    def __repr__(self) -> str:
        axes = f", shared_axes={self.shared_axes}" if self.shared_axes != () else ""
        return f"{self._class_name}({self._strength}, rng=({self.seed}, {self.call}){axes})"

    def _noisy(self, x: AnyArray, strength: float) -> tuple[AnyArray, Any]:
        """Apply noise to x, and return its mask too."""
        raise NotImplementedError

    def _forward(self, x: AnyArray, training: bool) -> tuple[AnyArray, Any]:
        # Without strength the same function gives inference its checked, equal copy of x.
        y, mask = self._noisy(x, self._strength if training else 0.0)
        if training:
            self._count_call()
        return y, mask


class AlphaDropout(NoiseLayer):
    """Alpha dropout (Klambauer et al., 2017), for networks of SELU.

    Parameters
    ----------
    p : float
        Probability of dropping, 0 to 1; the paper recommends 0.05 to 0.1.
    shared_axes : int or tuple of int
        Axes along which one draw serves all: (2, 3) of (N, C, H, W) drops whole feature maps.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence
        As for :class:`Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import AlphaDropout
    >>> layer = AlphaDropout(0.1, rng=7)
    >>> y = layer(np.random.default_rng(0).standard_normal(100_000))
    >>> abs(float(y.mean())) < 0.02 and abs(float(y.std()) - 1) < 0.02
    True
    >>> layer.seed, layer.call
    (7, 1)
    """

    def __init__(self, p: float = 0.5, *, shared_axes: Axis = (), rng: Rng = None) -> None:
        super().__init__(probability("AlphaDropout", p), shared_axes, rng)

    @property
    def p(self) -> float:
        """Probability of dropping."""
        return self._strength

    def _noisy(self, x: AnyArray, strength: float) -> tuple[AnyArray, Any]:
        return alpha_dropout_forward(x, strength, rng=self._drawn(), shared_axes=self.shared_axes)

    def _backward(self, grad_output: AnyArray, saved: Any) -> AnyArray:
        return alpha_dropout_backward(grad_output, saved)


class GaussianDropout(NoiseLayer):
    """Gaussian dropout (Srivastava et al., 2014): factors of mean 1 and variance p / (1 - p).

    Parameters
    ----------
    p : float
        Probability of dropping of the dropout that has the same variance, 0 to below 1.
    shared_axes : int or tuple of int
        Axes along which one draw serves all.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence
        As for :class:`Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import GaussianDropout
    >>> layer = GaussianDropout(0.2, rng=7)
    >>> y = layer(np.ones(100_000))
    >>> abs(float(y.mean()) - 1) < 0.01 and abs(float(y.std()) - 0.5) < 0.01
    True
    """

    def __init__(self, p: float = 0.5, *, shared_axes: Axis = (), rng: Rng = None) -> None:
        super().__init__(probability_below_1("GaussianDropout", p), shared_axes, rng)

    @property
    def p(self) -> float:
        """Probability of dropping of the dropout that has the same variance."""
        return self._strength

    def _noisy(self, x: AnyArray, strength: float) -> tuple[AnyArray, Any]:
        return gaussian_dropout_forward(
            x, strength, rng=self._drawn(), shared_axes=self.shared_axes
        )

    def _backward(self, grad_output: AnyArray, saved: Any) -> AnyArray:
        return gaussian_dropout_backward(grad_output, saved)


class UniformDropout(NoiseLayer):
    """Uniform dropout, or Uout (Li et al., 2019): factors from 1 - beta to 1 + beta.

    Parameters
    ----------
    beta : float
        Largest deviation of a factor from 1, 0 to 1.
    shared_axes : int or tuple of int
        Axes along which one draw serves all: (2, 3) of (N, C, H, W) gives a map one factor.
    rng : None, int, (int, int), Generator, BitGenerator or SeedSequence
        As for :class:`Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> from normdrop.layers import UniformDropout
    >>> layer = UniformDropout(0.1, rng=7)
    >>> y = layer(np.ones(1000))
    >>> bool(0.9 <= y.min() and y.max() <= 1.1)
    True
    """

    def __init__(self, beta: float = 0.1, *, shared_axes: Axis = (), rng: Rng = None) -> None:
        super().__init__(deviation("UniformDropout", beta), shared_axes, rng)

    @property
    def beta(self) -> float:
        """Largest deviation of a factor from 1."""
        return self._strength

    def _noisy(self, x: AnyArray, strength: float) -> tuple[AnyArray, Any]:
        return uniform_dropout_forward(x, strength, rng=self._drawn(), shared_axes=self.shared_axes)

    def _backward(self, grad_output: AnyArray, saved: Any) -> AnyArray:
        return uniform_dropout_backward(grad_output, saved)
