"""Exact answers by Python's fractions: slow and plain, for short arrays.

Weight norm, PReLU's weight, halves of batch norm and merged statistics, element by element as
they are written in the references. Each returns an ``Exact`` as ``oracles`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from oracles import Exact, ExactStatistics, exact_normalise, integers, inverse_root, split

Array = npt.NDArray[Any]


def fractions(values: Array) -> list[Fraction]:
    """Every element as it is."""
    return [Fraction(value) for value in np.asarray(values, np.float64).ravel().tolist()]


def exact(values: Iterable[Fraction], scales: Iterable[Fraction]) -> Exact:
    """Quotients as sums of two doubles, and the scale of each."""
    parts = [split(value.numerator, value.denominator, 0) for value in values]
    table = np.array(parts, np.float64).reshape(-1, 2)
    return Exact(table[:, 0], table[:, 1], np.array([float(scale) for scale in scales]))


# Weight norm -------------------------------------------------------------------------------------


def inverse_norm(row: Array) -> Fraction:
    """1 / norm of a row that is not 0, to 300 bits."""
    numbers, power = integers(row)
    root, root_power = inverse_root(sum(number * number for number in numbers), 1, 2 * power)
    return root * Fraction(2) ** root_power


def exact_weight_norm(row: Array, g: float) -> Exact:
    """g * v / norm(v) for one unit."""
    factor = Fraction(g) * inverse_norm(row)
    weights = [value * factor for value in fractions(row)]
    return exact(weights, map(abs, weights))


def exact_norm(row: Array) -> float:
    """The norm of one unit, correctly rounded."""
    inverse = inverse_norm(row)
    return split(inverse.denominator, inverse.numerator, 0)[0]


def exact_weight_norm_gradient(
    grad: Array, row: Array, g: float, norm: float
) -> tuple[Exact, Exact]:
    """Gradients of v and g for one unit, at the norm as passed."""
    grads, values = fractions(grad), fractions(row)
    length, factor = Fraction(norm), Fraction(g) / Fraction(norm)
    products = [a * b for a, b in zip(grads, values, strict=True)]
    along, magnitude = sum(products), sum(map(abs, products))
    of_v = [factor * (a - b * along / length**2) for a, b in zip(grads, values, strict=True)]
    scale = [
        abs(factor) * (abs(a) + abs(b) * magnitude / length**2)
        for a, b in zip(grads, values, strict=True)
    ]
    return exact(of_v, scale), exact([along / length], [magnitude / length])


# Halves of batch norm ----------------------------------------------------------------------------


def exact_apply(row: Array, mean: float, inv_std: float, weight: float, bias: float) -> Exact:
    """One channel, normalised at statistics as passed."""
    centre, factor, shift = Fraction(mean), Fraction(inv_std) * Fraction(weight), Fraction(bias)
    products = [(value - centre) * factor for value in fractions(row)]
    results = [product + shift for product in products]
    scale = [
        max(abs(result), abs(product), abs(shift))
        for result, product in zip(results, products, strict=True)
    ]
    return exact(results, scale)


def exact_backward_apply(
    grad: Array,
    row: Array,
    statistics: tuple[float, float],
    sums: tuple[float, float, int],
    weight: float,
) -> Exact:
    """Gradient of one channel at mean and inv_std, and at sums and their count, as passed."""
    mean, inv_std = map(Fraction, statistics)
    mean_grad, mean_product = (Fraction(total) / sums[2] for total in sums[:2])
    factor = inv_std * Fraction(weight)
    results, scale = [], []
    for g, value in zip(fractions(grad), fractions(row), strict=True):
        x_hat = (value - mean) * inv_std
        results.append(factor * (g - mean_grad - x_hat * mean_product))
        scale.append(abs(factor) * (abs(g) + abs(mean_grad) + abs(x_hat * mean_product)))
    return exact(results, scale)


def exact_statistics(parts: Sequence[Array], eps: float) -> ExactStatistics:
    """Statistics of one channel of all parts together."""
    return exact_normalise(np.concatenate(parts), eps=eps)[1]


def exact_merged(
    parts: Sequence[tuple[float, float, int]], eps: float
) -> tuple[float, float, float]:
    """Mean, var and inv_std that the means, variances and counts of parts say, rounded once."""
    total = sum(count for _, _, count in parts)
    moments = [(Fraction(mean), Fraction(var), count) for mean, var, count in parts if count]
    mean = sum(m * n for m, _, n in moments) / total
    var = sum((v + (m - mean) ** 2) * n for m, v, n in moments) / total
    shifted = var + Fraction(eps)
    root, power = inverse_root(shifted.numerator, shifted.denominator, 0)
    return float(mean), float(var), float(root * Fraction(2) ** power)
