"""Mean and variance of parts of a set, merged as if of all values together.

Means and deviations are sums of two doubles, so that parts whose means lie far apart, or next to
each other, lose nothing. Each channel is computed at a power of two of its own, at which neither
its squares nor eps leave the range of double.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from normdrop import _core
from normdrop._arguments import integer
from normdrop._double_double import (
    divide,
    exactly,
    inverse_root,
    minus,
    plus,
    square,
    sum_of,
    times,
)
from normdrop._typing import FloatArray

_NAME = "BatchStats.merged"

# Relative difference between an inv_std and what var and eps give: beyond rounding (units of
# 2**-52), and below what would show in single precision.
_SAME_EPS = 2.0**-30
_SMALLEST_EXACT = 2.0**-960  # below it var has lost digits, or all of itself

Exponents = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Moments:
    """Statistics of one part, one value per channel, and how many values a channel has."""

    mean: FloatArray
    var: FloatArray
    inv_std: FloatArray
    count: int


def moments_of(parts: Sequence[Any], kind: Any) -> list[Moments]:
    """Check the parts, each of which must be of a kind, and take their fields."""
    if not isinstance(parts, Sequence) or isinstance(parts, kind):
        raise TypeError(f"{_NAME}: parts must be a list of BatchStats, got {type(parts).__name__}")
    if not parts:
        raise ValueError(f"{_NAME}: parts must hold at least one BatchStats, got none")
    checked = []
    for index, part in enumerate(parts):
        argument = f"parts[{index}]"
        if not isinstance(part, kind):
            raise TypeError(f"{_NAME}: {argument} must be a BatchStats, got {type(part).__name__}")
        count = integer(_NAME, f"{argument}.count", part.count)
        if count < 0:
            raise ValueError(f"{_NAME}: {argument}.count must be 0 or greater, got {count}")
        mean, var, inv_std = (
            _statistic(f"{argument}.{field}", getattr(part, field), parts[0].mean)
            for field in ("mean", "var", "inv_std")
        )
        checked.append(Moments(mean, var, inv_std, count))
    return checked


def _statistic(argument: str, value: Any, first: Any) -> FloatArray:
    """Check an array, which lies where the first one does, and bring it to the host."""
    on_device = _core.is_device_array(first)
    if on_device and _core.is_device_array(value):
        array = _core.to_numpy(value)
    elif not on_device and type(value) in (np.ndarray, np.memmap):
        array = value
    else:
        expected = "an array on a device like parts[0].mean" if on_device else "a numpy.ndarray"
        raise TypeError(f"{_NAME}: {argument} must be {expected}, got {type(value).__name__}")
    if array.dtype != np.float64:
        raise TypeError(f"{_NAME}: {argument} must have dtype float64, got {array.dtype}")
    if array.shape != tuple(first.shape):
        raise ValueError(
            f"{_NAME}: {argument} must have shape {tuple(first.shape)}, got {array.shape}"
        )
    return array


def merged_moments(parts: Sequence[Moments], eps: float) -> Moments:
    """Statistics of the whole (Chan, Golub and LeVeque, 1979); NaN where every part is empty."""
    total = sum(part.count for part in parts)
    if total == 0:
        mean, var, inv_std = np.full((3, *parts[0].mean.shape), np.nan)
        return Moments(mean, var, inv_std, 0)
    with np.errstate(all="ignore"):
        for index, part in enumerate(parts):
            if part.count:
                _check_eps(index, part, eps)
        used = [part for part in parts if part.count]
        power = _common_power(used, eps)
        scaled = [_scaled(part, power, eps) for part in used]
        centre = divide(sum_of([times(exactly(part.mean), part.count) for part in scaled]), total)
        spreads = [
            times(plus(square(minus(part.mean, centre)), part.var), part.count) for part in scaled
        ]
        spread = divide(sum_of(spreads), total)
        root = inverse_root(plus(spread, np.ldexp(eps, -2 * power)))
        return Moments(
            np.ldexp(centre.high, power),
            np.ldexp(spread.high, 2 * power),
            np.ldexp(root, -power),
            total,
        )


def _check_eps(index: int, part: Moments, eps: float) -> None:
    """Refuse another eps than that of a part, where var leaves enough of it to tell."""
    expected = 1.0 / np.sqrt(part.var + eps)
    tells = np.isfinite(part.var) & (part.var + eps > _SMALLEST_EXACT) & np.isfinite(part.inv_std)
    wrong = tells & (np.abs(part.inv_std - expected) > _SAME_EPS * expected)
    if wrong.any():
        channel = int(np.argmax(wrong))
        raise ValueError(
            f"{_NAME}: eps must be that of the parts, got {eps}, which with "
            f"parts[{index}].var gives inv_std {expected[channel]} in channel {channel}, "
            f"not {part.inv_std[channel]}"
        )


def _common_power(parts: Sequence[Moments], eps: float) -> Exponents:
    """Find the power of two near the largest mean, deviation and root of eps of each channel."""
    largest = np.full(parts[0].mean.shape, np.sqrt(eps))
    for part in parts:
        for value in (np.abs(part.mean), 1.0 / part.inv_std):
            largest = np.where(np.isfinite(value) & (value > largest), value, largest)
    power: Exponents = np.frexp(largest)[1]
    return power


def _scaled(part: Moments, power: Exponents, eps: float) -> Moments:
    """Bring a part to the common power; inv_std says what var is where that is out of range."""
    deviation = np.ldexp(1.0 / part.inv_std, -power)
    beyond = np.isinf(part.var) | ((eps == 0.0) & (part.var < _SMALLEST_EXACT))
    var = np.where(beyond, deviation * deviation, np.ldexp(part.var, -2 * power))
    return Moments(np.ldexp(part.mean, -power), var, part.inv_std, part.count)
