"""Equality of results that hold arrays, of NumPy or on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from normdrop import _core
from normdrop._typing import AnyArray


class ArrayTuple:
    """Equality that compares arrays element by element (NaN equals NaN).

    A named tuple inherits tuple equality, which asks arrays for a truth value and raises.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(map(same_values, self, other))  # type: ignore[call-overload]

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def same_values(left: Any, right: Any) -> bool:
    if not (_is_array(left) and _is_array(right)):
        return bool(left == right) if type(left) is type(right) else False
    left, right = _on_host(left), _on_host(right)
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) or _core.is_device_array(value)


def _on_host(value: Any) -> AnyArray:
    return _core.to_numpy(value) if _core.is_device_array(value) else np.asarray(value)
