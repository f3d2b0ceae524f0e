"""The arrays of a case: the same values in every process, from the case's name."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from normdrop.benchmark.cases import Case

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CaseData:
    """Inputs of one case, C-contiguous in ``case.memory_shape``.

    ``weight``, ``bias`` and the running statistics are None for dropout, ``grad_output``
    outside of backward cases.
    """

    x: Array
    weight: Array | None
    bias: Array | None
    grad_output: Array | None
    running_mean: Array | None
    running_var: Array | None


def given(array: Array | None) -> Array:
    """Return an array that this kind of case always has."""
    assert array is not None
    return array


def make_data(case: Case) -> CaseData:
    """Draw the inputs of a case.

    Values are normal with mean 0.5 and standard deviation 1.5, like activations; the
    weight is near 1, the bias near 0. Adversarial values belong to the tests, not here.
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    dtype = np.dtype(case.dtype)

    def normal(shape: tuple[int, ...], mean: float, std: float) -> Array:
        values: Array = generator.standard_normal(shape, dtype=dtype.type)
        values *= dtype.type(std)
        values += dtype.type(mean)
        return values

    x = normal(case.memory_shape, 0.5, 1.5)
    length = (case.parameters,)
    with_parameters = case.op != "dropout"
    inference = case.direction == "inference"
    return CaseData(
        x=x,
        weight=normal(length, 1.0, 0.2) if with_parameters else None,
        bias=normal(length, 0.0, 0.2) if with_parameters else None,
        grad_output=normal(case.memory_shape, 0.0, 1.0) if case.direction == "backward" else None,
        running_mean=normal(length, 0.5, 0.1) if inference else None,
        running_var=np.abs(normal(length, 2.25, 0.2)) if inference else None,
    )
