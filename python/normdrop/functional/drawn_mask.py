"""What the masks of dropout's family have in common: how a call's words were drawn."""

from __future__ import annotations

import dataclasses
import math
import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop._typing import FloatArray
from normdrop.functional.rng import word64

WORDS = 1 << 32
_CHUNK = 1 << 22  # elements that are packed at a time


class DrawnMask:
    """Seed, call and shape of a call: every element's word follows from them."""

    __slots__ = ()

    if TYPE_CHECKING:  # fields of the classes below

        @property
        def seed(self) -> int:
            """With the call, what all words follow from."""

        @property
        def call(self) -> int:
            """The number of the call."""

        @property
        def shape(self) -> tuple[int, ...]:
            """Shape of the array."""

        @property
        def shared_axes(self) -> tuple[int, ...]:
            """Axes along which one draw serves all."""

    def _check_draw(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "seed", word64(name, "seed", self.seed))
        object.__setattr__(self, "call", word64(name, "call", self.call))
        object.__setattr__(self, "shape", _shape(name, self.shape))
        if not isinstance(self.shared_axes, tuple) or self.shared_axes:
            axes = _core.shared_axes(name, self.shared_axes, len(self.shape))
            object.__setattr__(self, "shared_axes", axes)

    @property
    def _device_draw(self) -> Any:
        """What the kernel reads seed and call from, where they lie on a device."""
        return None

    def _ones(self) -> FloatArray:
        """Make the array of which a function makes the factors."""
        try:
            return np.ones(self.shape)
        except (MemoryError, ValueError):  # the latter where no array could be so large
            raise self._no_memory("factor", 8 * math.prod(self.shape)) from None

    def _no_memory(self, name: str, size: int) -> MemoryError:
        return MemoryError(
            f"{type(self).__name__}: {name} needs {size} bytes for shape {self.shape}, "
            "more than there are"
        )


class KeepMask(DrawnMask):
    """A mask by which elements are kept or dropped."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def p(self) -> float:
            """Probability of dropping."""

    @property
    def threshold(self) -> int:
        """An element is kept where its 32-bit word is below this; 0 to 2**32."""
        return threshold_of(self.p)

    @property
    def keep(self) -> npt.NDArray[np.bool_]:
        """Whether each element is kept: a bool array of ``shape``."""
        count = math.prod(self.shape)
        if count > sys.maxsize:
            raise self._no_memory("keep", count)
        try:
            return self._words_below(0, count).view(np.bool_).reshape(self.shape)
        except MemoryError:
            raise self._no_memory("keep", count) from None

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
        for first in range(0, count, _CHUNK):
            words = self._words_below(first, min(_CHUNK, count - first))
            part = np.packbits(words, bitorder="little")
            packed[first // 8 : first // 8 + part.size] = part
        return packed

    def _words_below(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        seed, call, threshold = self.seed, self.call, self.threshold
        return _core.dropout_keep(seed, call, threshold, first, count, self.shape, self.shared_axes)


class OnDevice:
    """A mask whose seed and call lie on a device, as ``rng=`` gave them.

    Nothing is copied: a captured graph can move them on between its runs. So the array must not
    change between a forward pass and its backward pass. Reading ``seed`` or ``call`` waits for
    the device; a pickle or a copy holds the numbers.
    """

    __slots__ = ()
    _draw: Any

    def __init__(self, draw: Any, *rest: Any) -> None:
        """Take what seed and call lie in, and the fields behind those two, as they are."""
        object.__setattr__(self, "_draw", draw)
        for name, value in zip(self._names()[2:], rest, strict=True):
            object.__setattr__(self, name, value)

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

    @classmethod
    def _elsewhere(cls) -> Any:
        """Tell the class of such masks elsewhere."""
        return next(base for base in cls.__mro__ if not issubclass(base, OnDevice))

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls._elsewhere())]

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self._elsewhere()):
            return NotImplemented
        return self._values() == tuple(getattr(other, name) for name in self._names())

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return repr(self._elsewhere()(*self._values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return self._elsewhere(), self._values()


def threshold_of(p: float) -> int:
    """Return the bound below which a word keeps its element, for a probability of dropping."""
    return round((1.0 - p) * WORDS)


def _shape(function: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple):
        raise TypeError(f"{function}: shape must be a tuple, got {type(shape).__name__}")
    if not all(hasattr(size, "__index__") for size in shape):
        raise TypeError(f"{function}: shape must hold integers, got {shape}")
    sizes = tuple(map(operator.index, shape))
    if any(not 0 <= size <= sys.maxsize for size in sizes):
        raise ValueError(f"{function}: shape must hold sizes from 0 to {sys.maxsize}, got {shape}")
    return sizes
