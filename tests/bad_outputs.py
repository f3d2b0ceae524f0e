"""Arrays that a result cannot be written to: read-only ones, and those that overlap an input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bad_arrays import Arguments, Bad
from good_calls import get, put
from public_functions import DESCRIBED

Make = Callable[[Arguments], np.ndarray]


def out_cases(function: str) -> Iterator[Bad]:
    described = DESCRIBED.get(function)
    if described is None or described.out is None:
        return

    def bad(label: str, make: Make, *words: str) -> Bad:
        return Bad(function, "out", label, make, ValueError, words)

    yield bad("read-only", lambda a: read_only(a["out"]), "writeable", "got a read-only")
    yield bad("overlapping itself", lambda a: _twice(a["out"]))
    for argument in described.arrays("leader", "like"):
        for label, make in _shared_with(argument):
            yield bad(label, make, argument, "overlaps")
        if argument != described.out.may_be:
            yield bad(f"{argument} itself", lambda a, n=argument: get(a, n), argument, "overlaps")
    for argument in described.arrays():
        if argument not in described.arrays("leader", "like"):
            yield bad(f"over {argument}", _over(argument), argument, "overlaps")


def _shared_with(argument: str) -> Iterator[tuple[str, Make]]:
    """Places that share memory with an array like x."""
    yield f"{argument} shifted by one", _shifted(argument)
    yield f"{argument} reversed", lambda a: get(a, argument)[::-1]
    yield f"{argument} transposed into", _transposed(argument)
    for text, flips in DIRECTIONS.items():
        for half, out_first in (("first", True), ("second", False)):
            label = f"over the {half} half of {argument}, {text.format(argument)}"
            yield label, _into_half(argument, flips, out_first)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _twice(out: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(out, out.shape, (0, *out.strides[1:]))


def _shifted(argument: str) -> Make:
    """``out`` one element behind an input in one buffer; the input is moved there too."""

    def make(arguments: Arguments) -> np.ndarray:
        values = get(arguments, argument)
        line = np.zeros(values.size + 1, values.dtype)
        line[:-1] = values.ravel()
        put(arguments, argument, line[:-1].reshape(values.shape))
        return line[1:].reshape(values.shape)

    return make


def _transposed(argument: str) -> Make:
    """``out`` at the same address as an input with other strides."""

    def make(arguments: Arguments) -> np.ndarray:
        values = get(arguments, argument)
        strides = np.asfortranarray(values).strides
        return np.lib.stride_tricks.as_strided(values, values.shape, strides)

    return make


def _over(argument: str) -> Make:
    """``out`` whose memory holds a parameter or a statistic as well."""

    def make(arguments: Arguments) -> np.ndarray:
        out, values = arguments["out"], get(arguments, argument)
        line = out.ravel()
        part = line[20 : 20 + values.nbytes // line.itemsize].view(values.dtype)
        part = part.reshape(values.shape)
        part[...] = values
        put(arguments, argument, part)
        return line.reshape(out.shape)

    return make


FORWARD, BACKWARD, FIRST, LAST = ((), (0, 1, 2), (0,), (2,))  # axes to go down backwards
DIRECTIONS = {
    "{} reversed": (BACKWARD, FORWARD),
    "out reversed": (FORWARD, BACKWARD),
    "both reversed": (BACKWARD, BACKWARD),
    "the first axis of out reversed": (FORWARD, FIRST),
    "the last axis of out reversed": (FORWARD, LAST),
    "the last axis of {} reversed": (LAST, FORWARD),
}


def _into_half(argument: str, flips: tuple[Any, Any], out_first: bool) -> Make:
    """An input and ``out`` that share half of their memory, each with axes of negative stride."""

    def make(arguments: Arguments) -> np.ndarray:
        values = get(arguments, argument)
        half = values.size // 2
        line = np.zeros(values.size + half, values.dtype)
        halves = line[: values.size], line[half:]
        parts = [part.reshape(values.shape) for part in (halves[::-1] if out_first else halves)]
        moved, out = (np.flip(part, axes) for part, axes in zip(parts, flips, strict=True))
        moved[...] = values
        put(arguments, argument, moved)
        return out

    return make
