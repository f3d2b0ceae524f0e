"""Uniform dropout, or Uout (Li et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from normdrop._arguments import real_number
from normdrop._typing import Array, ArrayArgument, Axis, FloatArray
from normdrop.functional.drawn_mask import DrawnMask, OnDevice
from normdrop.functional.noise import Noise, backward, forward, require_mask
from normdrop.functional.rng import DeviceRng


@dataclass(frozen=True, slots=True)
class UniformDropoutMask(DrawnMask):
    """The factors of one call of uniform dropout: nothing but how they were drawn.

    Parameters
    ----------
    seed, call : int
        From 0 to 2**64 - 1.
    beta : float
        Largest deviation of a factor from 1, 0 to 1.
    shape : tuple of int
        Shape of the array.
    shared_axes : int or tuple of int, optional
        Axes along which one draw serves all; kept as a sorted tuple of numbers from 0.

    Examples
    --------
    >>> from normdrop import UniformDropoutMask
    >>> UniformDropoutMask(seed=7, call=0, beta=0.1, shape=(3,)).factor.round(6)
    array([1.090919, 1.05003 , 0.922835])
    """

    seed: int
    call: int
    beta: float
    shape: tuple[int, ...]
    shared_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "beta", deviation("UniformDropoutMask", self.beta))
        self._check_draw()

    @property
    def factor(self) -> FloatArray:
        """What each element of a float64 array is multiplied by."""
        return uniform_dropout_backward(self._ones(), self)


class DeviceUniformDropoutMask(OnDevice, UniformDropoutMask):
    """A :class:`UniformDropoutMask` whose seed and call lie on a device."""

    __slots__ = ("_draw",)


def uniform_dropout(
    x: Array,
    beta: float = 0.1,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> Array:
    """Multiply each element by ``1 + r``, with r uniform from ``-beta`` to ``beta``.

    The mean stays and the variance hardly grows, so that a batch norm behind it sees in training
    nearly what it sees at inference (Uout).

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        As for :func:`dropout`.
    beta : float, default 0.1
        Largest deviation of a factor from 1, 0 to 1. 0 gives an equal copy.
    rng, shared_axes, out
        As for :func:`dropout`.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``.

    Notes
    -----
    ``r = beta * (2 * (word + 0.5) / 2**32 - 1)``. The arithmetic is float64 for float64 and float32
    for all else: ``x * (1 + scale * ((word - 2**31) + 0.5))`` with ``scale = beta / 2**31``, every
    conversion, sum and product rounded once in this order: the same bits on every backend.

    References
    ----------
    Li, Chen, Hu, Yang, "Understanding the disharmony between dropout and batch normalization by
    variance shift", 2019.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.uniform_dropout(np.ones(3), beta=0.1, rng=7).round(6)
    array([1.090919, 1.05003 , 0.922835])
    """
    name = "uniform_dropout"
    y: Array = forward(name, _noise(deviation(name, beta)), x, rng, shared_axes, out)[0]
    return y


def uniform_dropout_forward(
    x: Array,
    beta: float = 0.1,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> tuple[Array, UniformDropoutMask]:
    """Uniform dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, beta, rng, shared_axes, out
        As for :func:`uniform_dropout`.

    Returns
    -------
    y : ndarray
        As for :func:`uniform_dropout`.
    mask : UniformDropoutMask
        How the factors were drawn; it holds no array.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.uniform_dropout_forward(np.ones(3), beta=0.1, rng=7)
    >>> mask
    UniformDropoutMask(seed=7, call=0, beta=0.1, shape=(3,), shared_axes=())
    """
    name = "uniform_dropout_forward"
    beta = deviation(name, beta)
    y, drawn = forward(name, _noise(beta), x, rng, shared_axes, out)
    return y, drawn.mask(UniformDropoutMask, DeviceUniformDropoutMask, beta)


def uniform_dropout_backward(
    grad_output: Array, mask: UniformDropoutMask, *, out: ArrayArgument | None = None
) -> Array:
    """Gradient of uniform dropout: the same factors.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64
        Gradient of the loss with respect to ``y``; the shape of the mask, any strides.
    mask : UniformDropoutMask
        What :func:`uniform_dropout_forward` returned.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``grad_output``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.uniform_dropout_forward(np.ones(3), beta=0.1, rng=7)
    >>> bool((nd.uniform_dropout_backward(np.ones(3), mask) == y).all())
    True
    """
    name = "uniform_dropout_backward"
    mask = require_mask(name, mask, UniformDropoutMask)
    grad_x: Array = backward(name, _noise(mask.beta), grad_output, mask, out)
    return grad_x


def deviation(function: str, beta: object) -> float:
    """Return the largest deviation of a factor from 1."""
    found = real_number(function, "beta", beta)
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"{function}: beta must be from 0 to 1, got {found}")
    return found


def _noise(beta: float) -> Noise:
    numbers = (beta / 2.0**31, 0.0, 0.0)
    return Noise("uniform", numbers, numbers)
