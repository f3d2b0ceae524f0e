"""Alpha dropout: Klambauer et al., "Self-normalizing neural networks", 2017."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np

from normdrop._arguments import probability
from normdrop._typing import Array, ArrayArgument, Axis
from normdrop.functional.drawn_mask import WORDS, KeepMask, OnDevice, threshold_of
from normdrop.functional.noise import Noise, backward, forward, require_mask
from normdrop.functional.rng import DeviceRng

# What SELU tends to for large negative arguments, -lambda * alpha.
LOWEST_OF_SELU = Decimal("-1.758099340847376859940217520812279577323506837162")
_DIGITS = Context(prec=60)


@dataclass(frozen=True, slots=True)
class AlphaDropoutMask(KeepMask):
    """The mask of one call of alpha dropout: nothing but how it was drawn.

    Parameters
    ----------
    seed, call : int
        From 0 to 2**64 - 1.
    p : float
        Probability of dropping, 0 to 1.
    shape : tuple of int
        Shape of the array that was dropped from.
    shared_axes : int or tuple of int, optional
        Axes along which one draw serves all; kept as a sorted tuple of numbers from 0.

    Examples
    --------
    >>> from normdrop import AlphaDropoutMask
    >>> mask = AlphaDropoutMask(seed=7, call=0, p=0.5, shape=(4,))
    >>> mask.keep
    array([False, False,  True,  True])
    >>> mask.scale, mask.shift, mask.dropped
    (0.8864048946659319, 0.7791939305180317, -0.7791939305180317)
    """

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]
    shared_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "p", probability("AlphaDropoutMask", self.p))
        self._check_draw()

    @property
    def scale(self) -> float:
        """Factor a of a kept element; 0 where everything is dropped."""
        return alpha_noise(self.threshold).double[0]

    @property
    def shift(self) -> float:
        """What is added to a kept element after that, b."""
        return alpha_noise(self.threshold).double[1]

    @property
    def dropped(self) -> float:
        """What an element becomes that is not kept."""
        return alpha_noise(self.threshold).double[2]


class DeviceAlphaDropoutMask(OnDevice, AlphaDropoutMask):
    """An :class:`AlphaDropoutMask` whose seed and call lie on a device."""

    __slots__ = ("_draw",)


def alpha_dropout(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> Array:
    """Drop elements to the lower limit of SELU, and keep mean 0 and variance 1.

    With q = 1 - p and alpha' = -1.7580993408473769, the limit of SELU for large negative arguments,
    ``y = a * (x if kept else alpha') + b``, where ``a = (q + alpha'**2 * q * (1 - q)) ** -0.5`` and
    ``b = -a * (1 - q) * alpha'``. Where x has mean 0 and variance 1, so has y.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        As for :func:`dropout`.
    p : float, default 0.5
        Probability of dropping, 0 to 1; the paper recommends 0.05 to 0.1. 0 gives an equal copy,
        1 gives zeros.
    rng, shared_axes, out
        As for :func:`dropout`.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``. A dropped element is the same number also where
        ``x`` is NaN or inf.

    Notes
    -----
    Elements are kept as by :func:`dropout` with the same arguments; q is the exact probability of
    that. a, b and what dropped elements become, ``a * alpha' + b``, are rounded once, to float64
    for float64 and else to float32, and so are the product and the sum of a kept element, then to
    the dtype: the same bits on every backend.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", 2017.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.alpha_dropout(np.zeros(4), p=0.5, rng=7).round(7)
    array([-0.7791939, -0.7791939,  0.7791939,  0.7791939])
    """
    name = "alpha_dropout"
    noise = alpha_noise(threshold_of(probability(name, p)))
    y: Array = forward(name, noise, x, rng, shared_axes, out)[0]
    return y


def alpha_dropout_forward(
    x: Array,
    p: float = 0.5,
    *,
    rng: DeviceRng = None,
    shared_axes: Axis = (),
    out: ArrayArgument | None = None,
) -> tuple[Array, AlphaDropoutMask]:
    """Alpha dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, p, rng, shared_axes, out
        As for :func:`alpha_dropout`.

    Returns
    -------
    y : ndarray
        As for :func:`alpha_dropout`.
    mask : AlphaDropoutMask
        How the mask was drawn; it holds no array.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.alpha_dropout_forward(np.zeros(4), p=0.5, rng=7)
    >>> mask
    AlphaDropoutMask(seed=7, call=0, p=0.5, shape=(4,), shared_axes=())
    """
    name = "alpha_dropout_forward"
    p = probability(name, p)
    y, drawn = forward(name, alpha_noise(threshold_of(p)), x, rng, shared_axes, out)
    return y, drawn.mask(AlphaDropoutMask, DeviceAlphaDropoutMask, p)


def alpha_dropout_backward(
    grad_output: Array, mask: AlphaDropoutMask, *, out: ArrayArgument | None = None
) -> Array:
    """Gradient of alpha dropout: ``a * grad_output`` where an element was kept, else 0.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64
        Gradient of the loss with respect to ``y``; the shape of the mask, any strides.
    mask : AlphaDropoutMask
        What :func:`alpha_dropout_forward` returned.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``grad_output``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.alpha_dropout_forward(np.zeros(4), p=0.5, rng=7)
    >>> nd.alpha_dropout_backward(np.ones(4), mask).round(7)
    array([0.       , 0.       , 0.8864049, 0.8864049])
    """
    name = "alpha_dropout_backward"
    mask = require_mask(name, mask, AlphaDropoutMask)
    noise = alpha_noise(mask.threshold)._replace(kind="dropout")
    grad_x: Array = backward(name, noise, grad_output, mask, out)
    return grad_x


@lru_cache(maxsize=256)
def alpha_noise(threshold: int) -> Noise:
    """Work out a, b and what is dropped exactly, and round each of them once."""
    if threshold == 0:
        return Noise("alpha", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), threshold)
    if threshold == WORDS:  # b is -0, which leaves every x as it is
        return Noise("alpha", (1.0, -0.0, 0.0), (1.0, -0.0, 0.0), threshold)
    digits = _DIGITS
    q = digits.divide(Decimal(threshold), Decimal(WORDS))
    p = digits.subtract(Decimal(1), q)
    spread = digits.multiply(digits.multiply(LOWEST_OF_SELU, LOWEST_OF_SELU), digits.multiply(q, p))
    a = digits.divide(Decimal(1), digits.sqrt(digits.add(q, spread)))
    lowest = digits.multiply(a, LOWEST_OF_SELU)
    b = digits.minus(digits.multiply(lowest, p))
    numbers = a, b, digits.add(lowest, b)
    single = tuple(map(_single, numbers))
    return Noise("alpha", single, tuple(map(float, numbers)), threshold)  # type: ignore[arg-type]


def _single(number: Decimal) -> float:
    """Return the nearest float32; by way of a double it could be the second nearest."""
    near = np.float32(float(number))
    infinity = np.float32(np.inf)
    candidates = near, np.nextafter(near, -infinity), np.nextafter(near, infinity)
    return min(map(float, candidates), key=lambda c: abs(_DIGITS.subtract(Decimal(c), number)))
