"""Arithmetic on sums of two doubles, element by element: about 106 bits.

The numbers must stay where neither a product overflows nor its error underflows: see
:mod:`normdrop._merging`, which scales them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from normdrop._typing import FloatArray


class Pair(NamedTuple):
    """high + low, where low is at most half a unit of high."""

    high: FloatArray
    low: FloatArray


def _two_sum(a: FloatArray, b: FloatArray) -> Pair:
    total = a + b
    shadow = total - a
    return Pair(total, (a - (total - shadow)) + (b - shadow))


def _halves(a: FloatArray) -> Pair:
    """26 bits each, so that products of halves are exact."""
    spread = a * 134217729.0  # 2**27 + 1
    high = spread - (spread - a)
    return Pair(high, a - high)


def _two_product(a: FloatArray, b: FloatArray) -> Pair:
    product, (a_high, a_low), (b_high, b_low) = a * b, _halves(a), _halves(b)
    error = a_high * b_high - product
    return Pair(product, ((error + a_high * b_low) + a_low * b_high) + a_low * b_low)


def exactly(number: FloatArray) -> Pair:
    return Pair(number, np.zeros_like(number))


def sum_of(terms: Sequence[Pair]) -> Pair:
    total = terms[0]
    for term in terms[1:]:
        high, error = _two_sum(total.high, term.high)
        total = _two_sum(high, error + (total.low + term.low))
    return total


def plus(pair: Pair, number: FloatArray) -> Pair:
    return sum_of([pair, exactly(number)])


def minus(number: FloatArray, pair: Pair) -> Pair:
    return sum_of([exactly(number), Pair(-pair.high, -pair.low)])


def times(pair: Pair, factor: int) -> Pair:
    high, error = _two_product(pair.high, np.full_like(pair.high, factor))
    return _two_sum(high, error + pair.low * factor)


def square(pair: Pair) -> Pair:
    high, error = _two_product(pair.high, pair.high)
    return _two_sum(high, error + 2.0 * pair.high * pair.low)


def divide(pair: Pair, divisor: int) -> Pair:
    quotient = pair.high / divisor
    high, error = _two_product(quotient, np.full_like(quotient, divisor))
    return _two_sum(quotient, (((pair.high - high) - error) + pair.low) / divisor)


def inverse_root(pair: Pair) -> FloatArray:
    """Take one Newton step behind the rounded root: within little more than half a unit."""
    root = 1.0 / np.sqrt(pair.high)
    square, error = _two_product(root, root)
    high, low = _two_product(square, pair.high)
    residual = ((1.0 - high) - low) - (error * pair.high + square * pair.low)
    return np.where(np.isfinite(root), root + 0.5 * root * residual, root)
