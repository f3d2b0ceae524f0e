"""Inverted dropout with a counter-based generator: the mask is a function of (seed, call)."""

from __future__ import annotations

import secrets
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .moments import AnyArray
from .philox import Axes, words_by_index, words_of

RandomSource = None | int | tuple[int, int] | np.random.Generator


class ReferenceMask(NamedTuple):
    """Which elements were kept, by the numbers from which that is recomputed."""

    seed: int
    call: int
    p: float
    shape: tuple[int, ...]
    shared_axes: Axes = ()

    @property
    def keep(self) -> npt.NDArray[np.bool_]:
        """True where an element is kept."""
        return keep_mask(self.seed, self.call, self.p, self.shape, shared_axes=self.shared_axes)

    @property
    def scale(self) -> float:
        """What a kept element is multiplied by."""
        threshold = keep_threshold(self.p)
        return 2.0**32 / threshold if threshold else 0.0

    def packed(self) -> npt.NDArray[np.uint8]:
        """Eight elements a byte in C order, the lowest bit first."""
        return np.packbits(self.keep, axis=None, bitorder="little")


class _Mask(Protocol):
    """Anything that says how a mask was drawn: a DropoutMask or a ReferenceMask."""

    @property
    def seed(self) -> int: ...
    @property
    def call(self) -> int: ...
    @property
    def p(self) -> float: ...
    @property
    def shared_axes(self) -> Axes: ...


def keep_threshold(p: float) -> int:
    """Return the number, 0 .. 2**32, below which a word means that its element is kept."""
    return round((1.0 - p) * 2.0**32)  # Python rounds halves to even


def keep_mask(
    seed: int,
    call: int,
    p: float,
    shape: tuple[int, ...],
    *,
    first: int = 0,
    shared_axes: Axes = (),
) -> npt.NDArray[np.bool_]:
    """Draw the mask of elements ``first ...`` in C order, whatever the strides of the data."""
    if first:
        words = words_by_index(seed, call, first, int(np.prod(shape))).reshape(shape)
    else:
        words = words_of(seed, call, shape, shared_axes)
    return words.astype(np.uint64) < np.uint64(keep_threshold(p))


def dropout(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> AnyArray:
    """Drop each element with probability ``p`` and scale the others so that E[y] = x."""
    return dropout_forward(x, p, rng=rng, shared_axes=shared_axes)[0]


def dropout_forward(
    x: AnyArray, p: float = 0.5, *, rng: RandomSource = None, shared_axes: Axes = ()
) -> tuple[AnyArray, ReferenceMask]:
    """``dropout`` together with its mask."""
    seed, call = seed_and_call(rng)
    mask = ReferenceMask(seed, call, p, x.shape, shared_axes)
    return dropout_backward(x, mask), mask


def dropout_backward(grad_output: AnyArray, mask: _Mask) -> AnyArray:
    """Pass the gradient through the same mask and scale.

    Scale and product are rounded to the dtype; for float16 and bfloat16 to float32, and the
    product then to the dtype. A dropped element is 0 whatever it was, which is why this selects
    and does not multiply by the mask (inf * 0 would be NaN).
    """
    keep = keep_mask(mask.seed, mask.call, mask.p, grad_output.shape, shared_axes=mask.shared_axes)
    scale = scale_in(mask.p, grad_output.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (grad_output * scale).astype(grad_output.dtype)
    result: AnyArray = np.where(keep, scaled, np.zeros((), grad_output.dtype))
    return result


def scale_in(p: float, dtype: npt.DTypeLike) -> Any:
    """Round ``2**32 / threshold`` once: the nearest number, found exactly.

    Of the dtype itself for float32 and float64, of float32 for float16 and bfloat16.
    """
    threshold = keep_threshold(p)
    return rounded_once(Fraction(2**32, threshold) if threshold else Fraction(0), dtype)


def rounded_once(exact: Fraction, dtype: npt.DTypeLike) -> Any:
    """Round a number to float64 for float64 and to float32 for all else: the nearest."""
    near = np.array(float(exact), arithmetic(dtype))[()]
    candidates = (near, np.nextafter(near, -near * 2 - 1), np.nextafter(near, near * 2 + 1))
    return min(candidates, key=lambda candidate: abs(Fraction(float(candidate)) - exact))


def arithmetic(dtype: npt.DTypeLike) -> type[np.floating[Any]]:
    """Return what numbers of a dtype are computed in."""
    return np.float64 if np.dtype(dtype) == np.float64 else np.float32


def seed_and_call(rng: RandomSource) -> tuple[int, int]:
    """Tell what ``rng`` stands for."""
    if rng is None:
        return secrets.randbits(64), 0
    if isinstance(rng, tuple):
        return int(rng[0]), int(rng[1])
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, 2**64, dtype=np.uint64)), 0
    return int(rng), 0
