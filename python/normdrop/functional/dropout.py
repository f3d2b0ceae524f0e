"""Dropout: Srivastava et al., "Dropout: a simple way to prevent overfitting", JMLR 15, 2014."""

from __future__ import annotations

import math
import operator
import os
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop.results import AnyArray

# Any is an array of two uint64 on a device.
Rng = SupportsIndex | tuple[SupportsIndex, SupportsIndex] | np.random.Generator | Any | None

_WORDS = 1 << 32
_LARGEST = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class DropoutMask:
    """The mask of one dropout call: nothing but how it was drawn.

    Element i (its index in C order, whatever the strides of the array) is kept where
    ``philox4x32_10(counter=(i // 4, call), key=seed)[i % 4] < round((1 - p) * 2**32)``.
    So a mask holds no array; it is recomputed wherever it is needed, bit for bit.

    Parameters
    ----------
    seed, call : int
        From 0 to 2**64 - 1.
    p : float
        Probability of dropping, 0 to 1.
    shape : tuple of int
        Shape of the array that was dropped from.

    Examples
    --------
    >>> from normdrop import DropoutMask
    >>> DropoutMask(seed=7, call=0, p=0.5, shape=(2, 3)).keep
    array([[False, False,  True],
           [ True,  True, False]])
    """

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "seed", _word64("DropoutMask", "seed", self.seed))
        object.__setattr__(self, "call", _word64("DropoutMask", "call", self.call))
        object.__setattr__(self, "p", _probability("DropoutMask", self.p))
        object.__setattr__(self, "shape", _shape("DropoutMask", self.shape))

    @property
    def threshold(self) -> int:
        """An element is kept where its 32-bit word is below this; 0 to 2**32."""
        return round((1.0 - self.p) * _WORDS)

    @property
    def scale(self) -> float:
        """Factor of a kept element, ``2**32 / threshold``; 0 where everything is dropped."""
        return _WORDS / self.threshold if self.threshold else 0.0

    @property
    def keep(self) -> npt.NDArray[np.bool_]:
        """Whether each element is kept: a bool array of ``shape``."""
        count = math.prod(self.shape)
        words = _core.dropout_keep(self.seed, self.call, self.threshold, 0, count)
        return words.view(np.bool_).reshape(self.shape)

    def packed(self) -> npt.NDArray[np.uint8]:
        """Eight elements a byte, in C order, the lowest bit first."""
        return np.packbits(self.keep.reshape(-1), bitorder="little")

    @property
    def _device_draw(self) -> Any:
        """What the kernel reads seed and call from, where they lie on a device."""
        return None


class _DeviceDropoutMask(DropoutMask):
    """A mask whose seed and call lie on a device, as ``rng=`` gave them.

    Nothing is copied: a captured graph can move them on between its runs. So the array must not
    change between a forward pass and its backward pass. Reading ``seed`` or ``call`` waits for
    the device; a pickle or a copy holds the numbers.
    """

    __slots__ = ("_draw",)
    _draw: Any

    def __init__(self, draw: Any, p: float, shape: tuple[int, ...]) -> None:
        object.__setattr__(self, "_draw", draw)
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "shape", shape)

    @property
    def seed(self) -> int:
        return int(_core.to_numpy(self._draw)[0])

    @property
    def call(self) -> int:
        return int(_core.to_numpy(self._draw)[1])

    @property
    def _device_draw(self) -> Any:
        return self._draw

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DropoutMask):
            return NotImplemented
        return _fields(self) == _fields(other)

    def __hash__(self) -> int:
        return hash(_fields(self))

    def __repr__(self) -> str:
        return repr(DropoutMask(*_fields(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return DropoutMask, _fields(self)


def _fields(mask: DropoutMask) -> tuple[int, int, float, tuple[int, ...]]:
    return mask.seed, mask.call, mask.p, mask.shape


def dropout(
    x: AnyArray, p: float = 0.5, *, rng: Rng = None, out: AnyArray | None = None
) -> AnyArray:
    """Set each element to 0 with probability ``p`` and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    x : ndarray of float16, bfloat16, float32 or float64
        Any shape, any strides. It may lie on a CUDA device instead (PyTorch, CuPy, JAX, whatever
        offers DLPack or ``__cuda_array_interface__``); the result is then of that kind, on the
        caller's stream.
    p : float, default 0.5
        Probability of dropping, 0 to 1. 0 gives an equal copy, 1 gives zeros.
    rng : None, int, (int, int) or numpy.random.Generator, optional
        None: fresh entropy; an int: the seed; a pair: (seed, call); a generator: one 64-bit
        draw of it is the seed, whatever ``p`` is. The same (seed, call) gives the same mask on
        every machine, backend and number of threads. With ``x`` on a device also an array there
        of two uint64, (seed, call), that the kernel reads, so that a captured graph can move on.
    out : ndarray, optional
        Where to write; shape and dtype of ``x``. ``out=x`` works in place.

    Returns
    -------
    y : ndarray
        Shape, dtype and memory order of ``x``; ``out`` where that was given. A dropped element is
        0 also where ``x`` is NaN or inf.

    Raises
    ------
    TypeError
        An argument of a wrong type or dtype.
    ValueError
        ``p`` outside 0 to 1, a seed outside 64 bits, or an ``out`` that does not fit.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014.
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> nd.dropout(np.ones(6), p=0.5, rng=7)
    array([0., 0., 2., 2., 2., 0.])
    """
    seed, call, draw = _draw("dropout", rng)
    threshold = round((1.0 - _probability("dropout", p)) * _WORDS)
    return _core.dropout("dropout", "x", x, seed, call, threshold, draw, None, out)


def dropout_forward(
    x: AnyArray, p: float = 0.5, *, rng: Rng = None, out: AnyArray | None = None
) -> tuple[AnyArray, DropoutMask]:
    """Dropout that also returns its mask for the backward pass.

    Parameters
    ----------
    x, p, rng, out
        As for :func:`dropout`.

    Returns
    -------
    y : ndarray
        As for :func:`dropout`.
    mask : DropoutMask
        How the mask was drawn; it holds no array.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.dropout_forward(np.ones(6), p=0.5, rng=7)
    >>> mask
    DropoutMask(seed=7, call=0, p=0.5, shape=(6,))
    """
    seed, call, draw = _draw("dropout_forward", rng)
    p = _probability("dropout_forward", p)
    threshold = round((1.0 - p) * _WORDS)
    y = _core.dropout("dropout_forward", "x", x, seed, call, threshold, draw, None, out)
    if draw is not None:
        return y, _DeviceDropoutMask(draw, p, tuple(y.shape))
    return y, DropoutMask(seed, call, p, tuple(y.shape))


def dropout_backward(
    grad_output: AnyArray, mask: DropoutMask, *, out: AnyArray | None = None
) -> AnyArray:
    """Gradient of dropout: the same elements dropped, the same factor.

    Parameters
    ----------
    grad_output : ndarray of float16, bfloat16, float32 or float64
        Gradient of the loss with respect to ``y``; the shape of the mask, any strides.
    mask : DropoutMask
        What :func:`dropout_forward` returned.
    out : ndarray, optional
        Where to write. ``out=grad_output`` works in place.

    Returns
    -------
    grad_x : ndarray
        Shape, dtype and memory order of ``grad_output``.

    Examples
    --------
    >>> import numpy as np, normdrop as nd
    >>> y, mask = nd.dropout_forward(np.ones(6), p=0.5, rng=7)
    >>> nd.dropout_backward(np.arange(6.0), mask)
    array([0., 0., 4., 6., 8., 0.])
    """
    if not isinstance(mask, DropoutMask):
        raise TypeError(f"dropout_backward: mask must be a DropoutMask, got {type(mask).__name__}")
    draw = mask._device_draw
    seed, call = (mask.seed, mask.call) if draw is None else (0, 0)
    return _core.dropout(
        "dropout_backward",
        "grad_output",
        grad_output,
        seed,
        call,
        mask.threshold,
        draw,
        mask.shape,
        out,
    )


def _draw(function: str, rng: Rng) -> tuple[int, int, Any]:
    """Seed, call and None, or 0, 0 and the array on a device that holds them."""
    if rng is None:
        return int.from_bytes(os.urandom(8), "little"), 0, None
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, _LARGEST, dtype=np.uint64, endpoint=True)), 0, None
    if isinstance(rng, tuple):
        if len(rng) != 2:
            raise ValueError(
                f"{function}: rng must be a pair (seed, call), got a tuple of {len(rng)}"
            )
        return _word64(function, "rng[0]", rng[0]), _word64(function, "rng[1]", rng[1]), None
    if type(rng) is not int and _core.is_device_array(rng):
        return 0, 0, rng
    return _word64(function, "rng", rng), 0, None


def _seed_and_call(function: str, rng: Rng) -> tuple[int, int]:
    """Seed and call where they cannot lie on a device."""
    seed, call, draw = _draw(function, rng)
    return (seed, call) if draw is None else (_word64(function, "rng", draw), 0)


def _word64(function: str, argument: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        expected = "an integer"
        if argument == "rng":
            expected = "None, an integer, a pair (seed, call) or a numpy.random.Generator"
        raise TypeError(f"{function}: {argument} must be {expected}, got {type(value).__name__}")
    try:
        word = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {argument} must be an integer, got {type(value).__name__}"
        ) from None
    if not 0 <= word <= _LARGEST:
        raise ValueError(f"{function}: {argument} must be from 0 to 2**64 - 1, got {word}")
    return word


def _probability(function: str, p: object) -> float:
    if type(p) is not float:
        if isinstance(p, (bool, np.bool_)) or not isinstance(p, (int, float, np.number)):
            raise TypeError(f"{function}: p must be a real number, got {type(p).__name__}")
        if isinstance(p, np.complexfloating):
            raise TypeError(f"{function}: p must be a real number, got {type(p).__name__}")
        p = float(p)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{function}: p must be from 0 to 1, got {p}")
    return p


def _shape(function: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple):
        raise TypeError(f"{function}: shape must be a tuple, got {type(shape).__name__}")
    if not all(hasattr(size, "__index__") for size in shape):
        raise TypeError(f"{function}: shape must hold integers, got {shape}")
    sizes = tuple(map(operator.index, shape))
    if any(size < 0 for size in sizes):
        raise ValueError(f"{function}: shape must hold sizes of 0 or more, got {shape}")
    return sizes
