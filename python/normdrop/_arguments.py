"""Checks of arguments that are no arrays, where Python makes them."""

from __future__ import annotations

import operator

import numpy as np


def real_number(function: str, argument: str, value: object, expected: str = "") -> float:
    """Return a number as a float; ``expected`` words what else the argument may be."""
    refused = (bool, np.bool_, np.complexfloating)
    if isinstance(value, refused) or not isinstance(value, (int, float, np.number)):
        raise TypeError(
            f"{function}: {argument} must be {expected}a real number, got {type(value).__name__}"
        )
    return float(value)


def epsilon(function: str, value: object) -> float:
    """Return eps, which is 0 or greater."""
    eps = real_number(function, "eps", value)
    if not eps >= 0.0:
        raise ValueError(f"{function}: eps must be 0 or greater, got {value}")
    return eps


def probability(function: str, p: object) -> float:
    """Return a probability of dropping."""
    found = p if type(p) is float else real_number(function, "p", p)
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"{function}: p must be from 0 to 1, got {found}")
    return found


def integer(function: str, argument: str, value: object, expected: str = "an integer") -> int:
    """Return an integer of any kind as an int; ``expected`` words what the argument may be."""
    if not isinstance(value, (bool, np.bool_)) and hasattr(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:  # an array of NumPy has the method, whatever it holds
            pass
    raise TypeError(f"{function}: {argument} must be {expected}, got {type(value).__name__}")


def flag(function: str, argument: str, value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: {argument} must be True or False, got {type(value).__name__}")
    return bool(value)
