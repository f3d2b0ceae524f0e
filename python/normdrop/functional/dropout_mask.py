"""The mask of a dropout call: how it was drawn, and its elements on demand."""

from __future__ import annotations

from dataclasses import dataclass

from normdrop._arguments import probability
from normdrop.functional.drawn_mask import WORDS, KeepMask, OnDevice


@dataclass(frozen=True, slots=True)
class DropoutMask(KeepMask):
    """The mask of one dropout call: nothing but how it was drawn.

    Element i (its index in C order, whatever the strides of the array) is kept where
    ``philox4x32_10(counter=(i // 4, call), key=seed)[i % 4] < round((1 - p) * 2**32)``.
    So a mask holds no array; it is recomputed wherever it is needed, bit for bit. With
    ``shared_axes`` i is the index in the shape in which these axes have size 1.

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
    >>> from normdrop import DropoutMask
    >>> DropoutMask(seed=7, call=0, p=0.5, shape=(2, 3)).keep
    array([[False, False,  True],
           [ True,  True, False]])
    >>> DropoutMask(seed=7, call=0, p=0.5, shape=(2, 3), shared_axes=(0,)).keep
    array([[False, False,  True],
           [False, False,  True]])
    """

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]
    shared_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "p", probability("DropoutMask", self.p))
        self._check_draw()

    @property
    def scale(self) -> float:
        """Factor of a kept element, ``2**32 / threshold``; 0 where everything is dropped."""
        return WORDS / self.threshold if self.threshold else 0.0


class DeviceDropoutMask(OnDevice, DropoutMask):
    """A :class:`DropoutMask` whose seed and call lie on a device."""

    __slots__ = ("_draw",)
