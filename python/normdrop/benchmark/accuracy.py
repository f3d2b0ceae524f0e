"""The worst error of a result on the case's own data, against `normdrop.reference`.

Forward results are counted in units of the last place of the output's dtype, at the scale
``max(|y|, |y - bias|, |bias|, smallest normal)``: near-cancellation of the product and the bias is
no fault of the kernel. A gradient is condition-scaled: its error over ``u * S``, where u is the
unit roundoff and S the sum of the magnitudes of its terms. float64 is judged in long double, all
else in float64, on some whole rows, channels or samples of the case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from normdrop import reference
from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import Array, CaseData
from normdrop.benchmark.operations import DROP_PROBABILITY, Operation, operation_of
from normdrop.benchmark.operations.formulas import gradient_magnitude, sign_of_deviation

# Enough to meet every lane and every thread's share; more would cost seconds per case.
JUDGED_ELEMENTS = 1_500_000
_BLOCK_ELEMENTS = 2_000_000
_SIGMAS = 6.0


def worst_error(
    case: Case, data: CaseData, outputs: tuple[Array, ...], keep: Array | None = None
) -> float | None:
    """Worst error in units; infinite for NaN, a wrong shape, dtype or mask.

    Parameters
    ----------
    case, data : Case, CaseData
        What was asked for.
    outputs : tuple of ndarray
        (y,) or (grad_x, grad_weight, grad_bias) in the case's memory layout.
    keep : ndarray of bool, optional
        The mask behind a dropout backward.

    Returns
    -------
    float or None
        None where this machine has no type wide enough to judge float64, and for operations that
        are not judged.
    """
    operation, wide = operation_of(case), _wider_type(case)
    if wide is None or operation.judged_by is None:
        return None
    if any(output.dtype != data.x.dtype for output in outputs):
        return float("inf")
    if len(outputs) < 1 or outputs[0].shape != case.memory_shape:
        return float("inf")
    with np.errstate(all="ignore"):
        if operation.judged_by == "mask":
            return _dropout_error(case, data, outputs[0], keep)
        return _Judgement(operation, case, data, outputs, wide).worst()


def _wider_type(case: Case) -> Any:
    if case.dtype != "float64":
        return np.float64
    precise_enough = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 1000
    return np.longdouble if precise_enough else None


def _limits_of(dtype: np.dtype[Any]) -> Any:
    finfo: Any = ml_dtypes.finfo  # NumPy's own does not know bfloat16
    return finfo(dtype)


def _worst(units: Array) -> float:
    """Largest value; infinite where one is NaN, 0 for nothing."""
    worst = float(np.max(units, initial=0.0))
    return float("inf") if np.isnan(units).any() or np.isnan(worst) else worst


def unit_in_last_place(scale: Array, dtype: np.dtype[Any]) -> Array:
    """Spacing of ``dtype`` at these magnitudes, rounded down to a power of two first."""
    info = _limits_of(dtype)
    _, exponent = np.frexp(np.maximum(np.abs(scale), float(info.smallest_normal)))
    units: Array = np.ldexp(np.ones_like(scale), exponent - 1 - info.nmant)
    return units


@dataclass(frozen=True)
class _Part:
    """Some whole sets of a case as a case of their own, in the wide type."""

    case: Case
    data: CaseData
    chosen: Array
    elements: Any  # the index of the part in arrays as large as x
    parameters: Any  # and in weight, bias and their gradients

    def of(self, array: Array) -> Array:
        """Return this part of an output."""
        part: Array = array[self.elements if array.ndim > 1 else self.parameters]
        return part.astype(self.data.x.dtype)


@dataclass(frozen=True)
class _Judgement:
    operation: Operation
    case: Case
    data: CaseData
    outputs: tuple[Array, ...]
    wide: Any

    def worst(self) -> float:
        """Judge what is as large as x on some sets, and gradients of parameters on all."""
        part = self._part(self._choose())
        exact = self._exact(part)
        if len(exact) != len(self.outputs):
            return float("inf")
        if self.case.direction != "backward":
            return self._units_of_forward(part, exact[0])
        worst = _worst(
            np.abs(part.of(self._like_x(self.outputs[0])) - exact[0])
            / (self._roundoff * self._magnitude(part, exact[0]))
        )
        return max(worst, *self._parameter_errors())

    @property
    def _roundoff(self) -> float:
        return float(_limits_of(self.data.x.dtype).eps) / 2

    @property
    def _axis(self) -> int:
        """The axis along which sets are chosen; rows of any rank are those of a matrix."""
        return self.case.channel_axis if self.operation.judged_by == "channels" else 0

    def _like_x(self, array: Array) -> Array:
        if self.operation.judged_by == "rows" and array.ndim > 1:
            return array.reshape(-1, array.shape[-1])
        return array

    def _choose(self) -> Array:
        """Choose the first, the last and some sets between, as many as the budget allows."""
        x = self._like_x(self.data.x)
        sets = x.shape[self._axis]
        count = int(np.clip(JUDGED_ELEMENTS * sets // x.size, min(2, sets), sets))
        return np.unique(np.linspace(0, sets - 1, count).astype(np.int64))

    def _part(self, chosen: Array) -> _Part:
        x = self._like_x(self.data.x)
        elements: list[Any] = [slice(None)] * x.ndim
        elements[self._axis] = chosen
        own = self.operation.judged_by in ("channels", "units")
        parameters = chosen if own else slice(None)
        arrays = {
            name: self._like_x(array)[tuple(elements) if array.ndim > 1 else parameters]
            for name, array in vars(self.data).items()
        }
        data = CaseData(**{name: array.astype(self.wide) for name, array in arrays.items()})
        shape = data.x.shape
        if self.case.layout == "nhwc":
            shape = (shape[0], shape[-1], *shape[1:-1])
        return _Part(replace(self.case, shape=shape), data, chosen, tuple(elements), parameters)

    def _exact(self, part: _Part) -> tuple[Array, ...]:
        call = self.operation.ours(reference, part.case, part.data)
        result = call.function(*call.arguments)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(array for array in results if isinstance(array, np.ndarray))

    def _units_of_forward(self, part: _Part, exact: Array) -> float:
        y = part.of(self._like_x(self.outputs[0]))
        scale = np.abs(exact)
        if hasattr(part.data, "bias"):
            shape = [1] * exact.ndim
            shape[-1 if self.case.layout == "rows" else part.case.channel_axis] = -1
            bias = part.data.bias.reshape(shape)
            scale = np.maximum(np.maximum(scale, np.abs(exact - bias)), np.abs(bias))
        return _worst(np.abs(y - exact) / unit_in_last_place(scale, self.data.x.dtype))

    def _magnitude(self, part: _Part, exact: Array) -> Array:
        geometry = self.operation.geometry
        if geometry is None:
            return np.abs(exact)
        magnitude: Array = gradient_magnitude(part.data, geometry(part.case))
        return magnitude

    def _parameter_errors(self) -> Iterator[float]:
        """Compare gradients of parameters; their sums run over the sets that are not theirs."""
        parts = [self._part(self._choose())]
        if self.operation.judged_by in ("rows", "samples"):
            parts = list(self._all_parts())
        sums = [self._exact(part)[1:] for part in parts]
        magnitudes = [self._exact_of_magnitudes(part)[1:] for part in parts]
        for index, computed in enumerate(self.outputs[1:]):
            exact = sum(part[index] for part in sums)
            magnitude = np.abs(sum(part[index] for part in magnitudes))
            if computed.shape != (self.case.parameters,):
                yield float("inf")
                continue
            error = np.abs(parts[0].of(computed) - exact)
            yield _worst(error / np.maximum(self._roundoff * magnitude, np.finfo(float).tiny))

    def _all_parts(self) -> Iterator[_Part]:
        x = self._like_x(self.data.x)
        step = max(1, _BLOCK_ELEMENTS * len(x) // x.size)
        for start in range(0, len(x), step):
            yield self._part(np.arange(start, min(len(x), start + step)))

    def _exact_of_magnitudes(self, part: _Part) -> tuple[Array, ...]:
        """Return the sums of magnitudes: each term with a grad_output of its own sign."""
        magnitude = np.abs(part.data.grad_output)
        geometry = self.operation.geometry
        sign = np.sign(part.data.x)
        if geometry is not None:
            sign = sign_of_deviation(part.data.x, geometry(part.case))
        signed = CaseData(**{**vars(part.data), "grad_output": magnitude * sign})
        plain = CaseData(**{**vars(part.data), "grad_output": magnitude})
        first, second = (self._exact(replace(part, data=data)) for data in (signed, plain))
        return (*first[:2], *second[2:])


def _dropout_error(case: Case, data: CaseData, y: Array, keep: Array | None) -> float:
    """Kept elements against the exact product; the mask against its probability or itself."""
    source = data.x if case.direction == "forward" else data.grad_output
    half = JUDGED_ELEMENTS // 2
    worst = 0.0
    for part in (slice(0, half), slice(max(half, y.size - half), None)):
        values, result = source.ravel()[part], y.ravel()[part]
        kept = (result != 0) | (values == 0)
        if keep is not None and not np.array_equal(kept, keep.ravel()[part] | (values == 0)):
            return float("inf")
        if not _plausible(int(kept.sum()), kept.size):
            return float("inf")
        exact = values[kept].astype(np.float64) / (1 - DROP_PROBABILITY)
        error = np.abs(result[kept].astype(np.float64) - exact)
        worst = max(worst, _worst(error / unit_in_last_place(exact, y.dtype)))
    return worst


def _plausible(kept: int, total: int) -> bool:
    """Whether so many kept elements can come from the probability that was asked for."""
    deviation = np.sqrt(total * DROP_PROBABILITY * (1 - DROP_PROBABILITY))
    return bool(abs(kept - total * (1 - DROP_PROBABILITY)) <= _SIGMAS * deviation + 1)
