"""Elements next to the mean of their row or channel, judged in units of themselves.

There x - mean is all that is left of two nearly equal numbers, so whatever the mean lacks of the
exact one is seen. Rows are made so: one element is set to the number nearest to the others' mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import generator
from comparing import assert_within
from oracles import Exact, ExactStatistics, error_in_units, exact_normalise
from tolerances import NEAREST_TO_THE_MEAN, limits

Array = np.ndarray[Any, Any]

ROW = np.array(
    [0.00769039709, -0.64693437, -0.558965743, 0.999159038, 0.460913599, -0.215720519], np.float32
)
LENGTHS = (3, 6, 17, 64, 257, 1000, 2049, 4097)
MEANS = (3000.0, 1.0, 2.0**-5, 2.0**-10, 2.0**-20)  # in standard deviations
KINDS = {
    "ordinary": lambda rng, values: values,
    "decades": lambda rng, values: values * 10.0 ** rng.uniform(-6, 0, values.shape),
    "outliers": lambda rng, values: np.where(np.arange(values.size) % 97 == 5, 1e4, 1.0) * values,
}


def planted(values: Array, dtype: type) -> tuple[Array, int]:
    """The row with its middle element as near to the mean as its dtype allows, and its index."""
    row, place = values.astype(dtype), values.size // 2
    others = [Fraction(float(value)) for i, value in enumerate(row) if i != place]
    row[place] = dtype(float(sum(others) / len(others)))
    return row, place


class Found(NamedTuple):
    """Rows of one length, and of each the place of an element next to the mean with its exact y."""

    rows: Array
    places: list[int]
    exact: Exact


@cache
def hunted(dtype: type, kind: str) -> list[Found]:
    found = []
    for length in LENGTHS:
        rows, places, high, low, scale = zip(*_hunt(dtype, kind, length), strict=True)
        found.append(Found(np.stack(rows), list(places), Exact(*map(np.array, (high, low, scale)))))
    return found


def _hunt(dtype: type, kind: str, length: int) -> Iterator[tuple[Array, int, float, float, float]]:
    rng = generator("next to the mean", kind, length)
    for mean in MEANS:
        for _ in range(1 + 64 // length):
            noise = KINDS[kind](rng, rng.standard_normal(length))
            values = noise - noise.mean() + mean * noise.std()
            if np.abs(values).max() > float(finfo(dtype).max):
                continue
            row, place = planted(values, dtype)
            exact, statistics = exact_normalise(row, eps=0.0)
            if np.isfinite(statistics.inv_std):  # else it was rounded to a constant
                high, low = exact.high[place], exact.low[place]
                yield row, place, high, low, max(abs(high), floor_of(dtype, statistics))


def floor_of(dtype: type, statistics: ExactStatistics) -> float:
    """What is smaller is judged at this scale."""
    floor = NEAREST_TO_THE_MEAN[np.dtype(dtype).name]
    if dtype is np.float64:
        floor *= max(1.0, abs(statistics.mean) * statistics.inv_std)
    return floor


WAYS: dict[str, Callable[[Array], Array]] = {
    "rows": lambda x: nd.layer_norm(x, eps=0.0),
    "columns": lambda x: nd.layer_norm(np.ascontiguousarray(x.T), axis=0, eps=0.0).T,
    "channels": lambda x: nd.batch_norm_forward(np.ascontiguousarray(x.T), eps=0.0)[0].T,
    "images": lambda x: nd.batch_norm_forward(x[None], eps=0.0)[0][0],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_element_half_a_millionth_of_a_millionth_off(way, backend):
    """Its y was 2.69657990e-10 with a mean rounded to one double: 3 units off."""
    exact, _ = exact_normalise(ROW, eps=0.0)
    assert abs(exact.high[0]) < 1e-9
    errors = error_in_units(WAYS[way](np.stack([ROW[::-1], ROW]))[1], exact)
    assert_within(errors, limits(np.float32).forward, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_elements_next_to_the_mean(kind, way, dtype, backend):
    for rows, places, exact in hunted(dtype, kind):
        y = WAYS[way](rows)[np.arange(len(rows)), places]
        errors = error_in_units(y, exact)
        message = f"{rows.shape[1]} elements, y = {exact.high[errors.argmax()]:.3g}"
        assert_within(errors, limits(dtype).forward, message)


def test_the_hunt_finds_some():
    """Down to the floor; a mean that takes the rounding of a quotient in double is seen there."""
    rejected = []
    for rows, places, exact in hunted(np.float32, "ordinary"):
        for row, place, y in zip(rows, places, exact.high, strict=True):
            numbers = [Fraction(float(value)) for value in row]
            mean = sum(numbers) / len(numbers)
            if numbers[place] == mean:
                continue
            careless = numbers[0] + Fraction(float(mean - numbers[0]))
            got = float(numbers[place] - careless) * (y / float(numbers[place] - mean))
            units = abs(got - y) / np.spacing(np.float32(y))
            if abs(units) > limits(np.float32).forward:
                rejected.append(abs(y))
    assert len(rejected) >= 3
    assert min(rejected) < 4 * NEAREST_TO_THE_MEAN["float32"]
