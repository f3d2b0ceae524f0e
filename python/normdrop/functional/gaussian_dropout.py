"""Gaussian dropout: Srivastava et al., "Dropout", JMLR 15, 2014, section 10."""

from __future__ import annotations

import math
from dataclasses import dataclass

from normdrop._arguments import probability
from normdrop._typing import Array, ArrayArgument, Axis, FloatArray
from normdrop.functional.drawn_mask import DrawnMask, OnDevice
from normdrop.functional.noise import Noise, backward, forward, require_mask
from normdrop.functional.rng import DeviceRng


@dataclass(frozen=True, slots=True)
class GaussianDropoutMask(DrawnMask):
    """The factors of one call of Gaussian dropout: nothing but how they were drawn.

    Parameters
    ----------
    seed, call : int
        From 0 to 2**64 - 1.
    p : float
        Probability of dropping of the dropout that has the same variance, 0 to below 1.
    shape : tuple of int
        Shape of the array.
    shared_axes : int or tuple of int, optional
        Axes along which one draw serves all; kept as a sorted tuple of numbers from 0.

    Examples
    --------
    >>> from normdrop import GaussianDropoutMask
    >>> mask = GaussianDropoutMask(seed=7, call=0, p=0.2, shape=(3,))
    >>> mask.deviation
    0.5
    >>> mask.factor.round(6)
    array([1.000146, 0.847577, 1.894379])
    """

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]
    shared_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "p", probability_below_1("GaussianDropoutMask", self.p))
        self._check_draw()

    @property
    def deviation(self) -> float:
        """Standard deviation of a factor, ``(p / (1 - p)) ** 0.5``."""
        return math.sqrt(self.p / (1.0 - self.p))

    @property
    def factor(self) -> FloatArray:
        """What each element of a float64 array is multiplied by."""
        return gaussian_dropout_backward(self._ones(), self)


class DeviceGaussianDropoutMask(OnDevice, GaussianDropoutMask):
    """A :class:`GaussianDropoutMask` whose seed and call lie on a device."""

    __slots__ = ("_draw",)


def gaussian_dropout(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> Array:
    """Multiply each element by a normal number of mean 1 and variance ``p / (1 - p)``.

    Mean and variance of y are those of dropout with the same p.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        As for :func:`dropout`.
    p : float, default 0.5
        Probability of dropping of the dropout that has the same variance: at least 0, where the
        result is an equal copy, and below 1.
    rng, shared_axes, out
        As for :func:`dropout`.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``.

    Notes
    -----
    With u and v the words 2 k and 2 k + 1, each as ``(word + 0.5) / 2**32``, the elements 2 k and
    2 k + 1 have the normal numbers ``sqrt(-2 * log(u)) * (cos(2 * pi * v), sin(2 * pi * v))`` (Box
    and Muller 1958), times ``(p / (1 - p)) ** 0.5``. They and the factors are worked out in
    float64, by sums, products, quotients and roots in a fixed order: the same bits on every
    backend. Factors are rounded once, to float32 for all but float64, and so are the products,
    then to the dtype.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014, section 10.
    Wang, Manning, "Fast dropout training", 2013.
    Box, Muller, "A note on the generation of random normal deviates", 1958.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.gaussian_dropout(np.ones(3), p=0.2, rng=7).round(6)
    array([1.000146, 0.847577, 1.894379])
    """
    name = "gaussian_dropout"
    y: Array = forward(name, _noise(probability_below_1(name, p)), x, rng, shared_axes, out)[0]
    return y


def gaussian_dropout_forward(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> tuple[Array, GaussianDropoutMask]:
    """Gaussian dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, p, rng, shared_axes, out
        As for :func:`gaussian_dropout`.

    Returns
    -------
    y : ndarray
        As for :func:`gaussian_dropout`.
    mask : GaussianDropoutMask
        How the factors were drawn; it holds no array.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.gaussian_dropout_forward(np.ones(3), p=0.2, rng=7)
    >>> mask
    GaussianDropoutMask(seed=7, call=0, p=0.2, shape=(3,), shared_axes=())
    """
    name = "gaussian_dropout_forward"
    p = probability_below_1(name, p)
    y, drawn = forward(name, _noise(p), x, rng, shared_axes, out)
    return y, drawn.mask(GaussianDropoutMask, DeviceGaussianDropoutMask, p)


def gaussian_dropout_backward(
    grad_output: Array, mask: GaussianDropoutMask, *, out: ArrayArgument | None = None
) -> Array:
    """Gradient of Gaussian dropout: the same factors.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64
        Gradient of the loss with respect to ``y``; the shape of the mask, any strides.
    mask : GaussianDropoutMask
        What :func:`gaussian_dropout_forward` returned.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``grad_output``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.gaussian_dropout_forward(np.ones(3), p=0.2, rng=7)
    >>> bool((nd.gaussian_dropout_backward(np.ones(3), mask) == y).all())
    True
    """
    name = "gaussian_dropout_backward"
    mask = require_mask(name, mask, GaussianDropoutMask)
    grad_x: Array = backward(name, _noise(mask.p), grad_output, mask, out)
    return grad_x


def probability_below_1(function: str, p: object) -> float:
    """Return a probability of dropping that leaves the variance finite."""
    found = probability(function, p)
    if found == 1.0:
        raise ValueError(f"{function}: p must be below 1, where the variance is infinite, got 1.0")
    return found


def _noise(p: float) -> Noise:
    numbers = (p / (1.0 - p), 0.0, 0.0)
    return Noise("gaussian", numbers, numbers)
