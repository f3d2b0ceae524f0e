"""The arrays of a case: the same values in every process, from the case's name."""

from __future__ import annotations

import zlib
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import operation_of

Array = npt.NDArray[Any]


class CaseData(SimpleNamespace):
    """Inputs of one case by name: ``x``, and those that the operation's record lists.

    They are C-contiguous; arrays as large as x have ``case.memory_shape``.
    """

    x: Array


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return a dtype by its name; NumPy itself does not know bfloat16."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def make_data(case: Case) -> CaseData:
    """Draw the inputs of a case.

    Values of x are normal with mean 0.5 and standard deviation 1.5, like activations; the others
    have what the record says. Adversarial values belong to the tests, not here.
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    dtype = numpy_dtype(case.dtype)
    drawn = np.float64 if case.dtype == "float64" else np.float32

    def normal(shape: tuple[int, ...], mean: float, std: float) -> Array:
        values: Array = generator.standard_normal(shape, dtype=drawn)
        values *= drawn(std)
        values += drawn(mean)
        return values.astype(dtype, copy=False)

    data = CaseData(x=normal(case.memory_shape, 0.5, 1.5))
    for given, shape in operation_of(case).inputs_of(case):
        values = normal(shape, given.mean, given.std)
        if given.single and case.dtype != "float64":
            values = values.astype(np.float32)
        setattr(data, given.name, np.abs(values) if given.positive else values)
    return data
