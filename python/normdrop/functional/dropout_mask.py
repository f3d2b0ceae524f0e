"""The mask of a dropout call: how it was drawn, and its elements on demand."""

from __future__ import annotations

import math
import operator
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop._arguments import probability
from normdrop.functional.rng import word64

_WORDS = 1 << 32
_CHUNK = 1 << 22  # elements that are packed at a time


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
        object.__setattr__(self, "seed", word64("DropoutMask", "seed", self.seed))
        object.__setattr__(self, "call", word64("DropoutMask", "call", self.call))
        object.__setattr__(self, "p", probability("DropoutMask", self.p))
        object.__setattr__(self, "shape", _shape("DropoutMask", self.shape))

    @property
    def threshold(self) -> int:
        """An element is kept where its 32-bit word is below this; 0 to 2**32."""
        return threshold_of(self.p)

    @property
    def scale(self) -> float:
        """Factor of a kept element, ``2**32 / threshold``; 0 where everything is dropped."""
        return _WORDS / self.threshold if self.threshold else 0.0

    @property
    def keep(self) -> npt.NDArray[np.bool_]:
        """Whether each element is kept: a bool array of ``shape``."""
        count = math.prod(self.shape)
        if count > sys.maxsize:
            raise self._no_memory("keep", count)
        try:
            words = _core.dropout_keep(self.seed, self.call, self.threshold, 0, count)
        except MemoryError:
            raise self._no_memory("keep", count) from None
        return words.view(np.bool_).reshape(self.shape)

    def packed(self) -> npt.NDArray[np.uint8]:
        """Eight elements a byte, in C order, the lowest bit first."""
        count = math.prod(self.shape)
        size = (count + 7) // 8
        if size > sys.maxsize:
            raise self._no_memory("packed", size)
        try:
            packed = np.empty(size, np.uint8)
        except MemoryError:
            raise self._no_memory("packed", size) from None
        seed, call, threshold = self.seed, self.call, self.threshold
        for first in range(0, count, _CHUNK):
            words = _core.dropout_keep(seed, call, threshold, first, min(_CHUNK, count - first))
            part = np.packbits(words, bitorder="little")
            packed[first // 8 : first // 8 + part.size] = part
        return packed

    def _no_memory(self, name: str, size: int) -> MemoryError:
        return MemoryError(
            f"DropoutMask: {name} needs {size} bytes for shape {self.shape}, more than there are"
        )

    @property
    def _device_draw(self) -> Any:
        """What the kernel reads seed and call from, where they lie on a device."""
        return None


class DeviceDropoutMask(DropoutMask):
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
        """The seed, as it is on the device now."""
        return int(_core.to_numpy(self._draw)[0])

    @property
    def call(self) -> int:
        """The call, as it is on the device now."""
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


def threshold_of(p: float) -> int:
    """Return the bound below which a word keeps its element, for a probability of dropping."""
    return round((1.0 - p) * _WORDS)


def _fields(mask: DropoutMask) -> tuple[int, int, float, tuple[int, ...]]:
    return mask.seed, mask.call, mask.p, mask.shape


def _shape(function: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple):
        raise TypeError(f"{function}: shape must be a tuple, got {type(shape).__name__}")
    if not all(hasattr(size, "__index__") for size in shape):
        raise TypeError(f"{function}: shape must hold integers, got {shape}")
    sizes = tuple(map(operator.index, shape))
    if any(not 0 <= size <= sys.maxsize for size in sizes):
        raise ValueError(f"{function}: shape must hold sizes from 0 to {sys.maxsize}, got {shape}")
    return sizes
