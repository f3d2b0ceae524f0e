"""What ``rng=`` may be, and the seed and call that it stands for."""

from __future__ import annotations

import os
from typing import Any, SupportsIndex

import numpy as np

from normdrop import _core
from normdrop._arguments import integer
from normdrop._typing import AnyDeviceArray

Rng = (
    SupportsIndex
    | tuple[SupportsIndex, SupportsIndex]
    | np.random.Generator
    | np.random.BitGenerator
    | np.random.SeedSequence
    | None
)
DeviceRng = Rng | AnyDeviceArray  # an array of two uint64 on a device, which the kernel reads

_LARGEST = (1 << 64) - 1
_KINDS = (
    "None, an integer, a pair (seed, call), a numpy.random.Generator, BitGenerator or SeedSequence"
)


def draw_seed(function: str, rng: DeviceRng) -> tuple[int, int, Any]:
    """Seed, call and None, or 0, 0 and the array on a device that holds them."""
    if type(rng) is int:
        return word64(function, "rng", rng), 0, None
    if rng is None:
        return int.from_bytes(os.urandom(8), "little"), 0, None
    if isinstance(rng, np.random.BitGenerator):
        rng = np.random.Generator(rng)
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(0, _LARGEST, dtype=np.uint64, endpoint=True)), 0, None
    if isinstance(rng, np.random.SeedSequence):
        return int(rng.generate_state(1, np.uint64)[0]), 0, None
    if isinstance(rng, tuple):
        if len(rng) != 2:
            raise ValueError(
                f"{function}: rng must be a pair (seed, call), got a tuple of {len(rng)}"
            )
        return word64(function, "rng[0]", rng[0]), word64(function, "rng[1]", rng[1]), None
    if _core.is_device_array(rng):
        return 0, 0, rng
    return _seed(function, rng), 0, None


def host_seed(function: str, rng: Rng) -> tuple[int, int]:
    """Seed and call where they cannot lie on a device."""
    seed, call, draw = draw_seed(function, rng)
    return (seed, call) if draw is None else (_seed(function, draw), 0)


def word64(function: str, argument: str, value: object, expected: str = "an integer") -> int:
    """Return an integer of 64 bits without a sign."""
    word = integer(function, argument, value, expected)
    if not 0 <= word <= _LARGEST:
        raise ValueError(f"{function}: {argument} must be from 0 to 2**64 - 1, got {word}")
    return word


def _seed(function: str, rng: object) -> int:
    if isinstance(rng, np.random.RandomState):
        raise TypeError(
            f"{function}: rng must be {_KINDS}, got RandomState; "
            "pass a numpy.random.default_rng(seed) instead"
        )
    return word64(function, "rng", rng, _KINDS)
