"""Elements next to the mean of their row or channel, judged in units of themselves.

There x - mean is all that is left of two nearly equal numbers, so whatever the mean lacks of the
exact one is seen. Rows are made so: one element is set to the number nearest to the others' mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import generator
from comparing import assert_within
from oracles import Exact, error_in_units, exact_normalise
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
    "outliers": lambda rng, values: np.where(np.arange(values.size) % 97 == 5, 1e6, 1.0) * values,
}


def planted(values: Array, dtype: type) -> tuple[Array, int]:
    """The row with its middle element as near to the mean as its dtype allows, and its index."""
    row, place = values.astype(dtype), values.size // 2
    others = [Fraction(float(value)) for i, value in enumerate(row) if i != place]
    row[place] = dtype(float(sum(others) / len(others)))
    return row, place


@cache
def hunted(dtype: type, kind: str) -> list[tuple[Array, int, Exact]]:
    """Rows, the index of the element next to the mean, and its exact y."""
    return list(_hunt(dtype, kind))


def _hunt(dtype: type, kind: str) -> Iterator[tuple[Array, int, Exact]]:
    rng = generator("next to the mean", kind)
    for length in LENGTHS:
        for mean in MEANS:
            for _ in range(1 + 64 // length):
                noise = KINDS[kind](rng, rng.standard_normal(length))
                values = noise - noise.mean() + mean * noise.std()
                if np.abs(values).max() > float(finfo(dtype).max):
                    continue
                row, place = planted(values, dtype)
                exact, statistics = exact_normalise(row, eps=0.0)
                if np.isfinite(statistics.inv_std):  # else it was rounded to a constant
                    floor = NEAREST_TO_THE_MEAN[np.dtype(dtype).name]
                    if dtype is np.float64:
                        floor *= max(1.0, abs(statistics.mean) * statistics.inv_std)
                    yield row, place, at(exact, place, floor)


def at(exact: Exact, place: int, floor: float) -> Exact:
    """One element, of which nothing smaller than the floor counts."""
    high, low = exact.high[place : place + 1], exact.low[place : place + 1]
    return Exact(high, low, np.maximum(np.abs(high), floor))


WAYS: dict[str, Callable[[Array], Array]] = {
    "row": lambda row: nd.layer_norm(row, eps=0.0),
    "rows": lambda row: nd.layer_norm(np.stack([row[::-1], row]), eps=0.0)[1],
    "columns": lambda row: nd.layer_norm(np.stack([row[::-1], row], 1), axis=0, eps=0.0)[:, 1],
    "channels": lambda row: nd.batch_norm_forward(np.stack([row, row], 1), eps=0.0)[0][:, 1],
    "images": lambda row: nd.batch_norm_forward(np.stack([row, row])[None], eps=0.0)[0][0, 1],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_element_half_a_millionth_of_a_millionth_off(way, backend):
    """Its y was 2.69657990e-10 with a mean rounded to one double: 3 units off."""
    exact, _ = exact_normalise(ROW, eps=0.0)
    assert abs(exact.high[0]) < 1e-9
    errors = error_in_units(WAYS[way](ROW), exact)
    assert_within(errors, limits(np.float32).forward, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_elements_next_to_the_mean(kind, way, dtype, backend):
    for row, place, exact in hunted(dtype, kind):
        y = WAYS[way](row)[place : place + 1]
        message = f"{row.size} elements, y = {exact.high[0]:.3g}"
        assert_within(error_in_units(y, exact), limits(dtype).forward, message)


def test_the_hunt_finds_some():
    """Down to the floor; a mean that takes the rounding of a quotient in double is seen there."""
    found = hunted(np.float32, "ordinary")
    rejected = []
    for row, place, exact in found:
        numbers = [Fraction(float(value)) for value in row]
        mean = sum(numbers) / len(numbers)
        if numbers[place] == mean:
            continue
        inv_std = float(exact.high[0]) / float(numbers[place] - mean)
        careless = numbers[0] + Fraction(float(mean - numbers[0]))
        y = np.float32(float(numbers[place] - careless) * inv_std)
        if error_in_units(np.array([y]), exact)[0] > limits(np.float32).forward:
            rejected.append(abs(exact.high[0]))
    assert len(rejected) >= 3
    assert min(rejected) < 4 * NEAREST_TO_THE_MEAN["float32"]
