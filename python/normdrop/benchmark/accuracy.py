"""The worst error of a result on the case's own data, against a wider reference.

Forward results are counted in units of the last place of the output's dtype, at the scale
``max(|y|, |weight * normalised|, |bias|, smallest normal)``: near-cancellation of the product
and the bias is no fault of the kernel. A gradient is condition-scaled: its error over
``u * S``, where u is the unit roundoff and S the sum of the magnitudes of its terms. float32 is
judged in float64, float64 in long double, on some whole rows or channels of the case.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from normdrop.benchmark.cases import DROP_PROBABILITY, EPS, Case
from normdrop.benchmark.data import Array, CaseData, given

# Enough to meet every lane and every thread's share; more would cost seconds per case.
JUDGED_ELEMENTS = 1_500_000
_JUDGED_COLUMNS = 32
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
        None where this machine has no type wide enough to judge float64.
    """
    wide = _wider_type(case)
    if wide is None:
        return None
    expected = 3 if case.direction == "backward" and case.op != "dropout" else 1
    if len(outputs) != expected or outputs[0].shape != case.memory_shape:
        return float("inf")
    if any(output.dtype != data.x.dtype for output in outputs):
        return float("inf")
    with np.errstate(all="ignore"):
        if case.op == "dropout":
            return _dropout_error(case, data, outputs[0], keep)
        if case.direction == "backward":
            return _gradient_error(case, data, outputs, wide)
        return _forward_error(case, data, outputs[0], wide)


def _wider_type(case: Case) -> Any:
    if case.dtype == "float32":
        return np.float64
    precise_enough = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps / 1000
    return np.longdouble if precise_enough else None


def _worst(units: Array) -> float:
    """Largest value; infinite where one is NaN, 0 for nothing."""
    worst = float(np.max(units, initial=0.0))
    return float("inf") if np.isnan(units).any() or np.isnan(worst) else worst


def unit_in_last_place(scale: Array, dtype: np.dtype[Any]) -> Array:
    """Spacing of ``dtype`` at these magnitudes, rounded down to a power of two first."""
    info: Any = np.finfo(dtype)
    _, exponent = np.frexp(np.maximum(np.abs(scale), info.smallest_normal))
    units: Array = np.ldexp(np.ones_like(scale), exponent - 1 - info.nmant)
    return units


def _views(case: Case, array: Array) -> Array:
    """View the array as (groups, values): one row per set of values with common statistics."""
    if case.layout == "rows":
        return array.reshape(-1, case.shape[-1])
    return np.moveaxis(array, case.channel_axis, 0)


def _choose(case: Case) -> Array:
    """Choose the first, the last and some groups between, as many as the budget allows."""
    elements = prod(case.shape)
    groups = elements // case.shape[-1] if case.layout == "rows" else case.shape[1]
    count = int(np.clip(JUDGED_ELEMENTS * groups // elements, min(2, groups), groups))
    return np.unique(np.linspace(0, groups - 1, count).astype(np.int64))


def _take(case: Case, array: Array, chosen: Array, wide: Any) -> Array:
    """Chosen groups in the wide type, shape (groups, values)."""
    return _views(case, array)[chosen].reshape(len(chosen), -1).astype(wide)


def _parameters(case: Case, data: CaseData, chosen: Array, wide: Any) -> tuple[Array, Array]:
    """Weight and bias, shaped to broadcast against (groups, values)."""
    weight, bias = given(data.weight).astype(wide), given(data.bias).astype(wide)
    if case.layout == "rows":
        return weight[None, :], bias[None, :]
    return weight[chosen, None], bias[chosen, None]


def _statistics(x: Array, wide: Any) -> tuple[Array, Array]:
    mean = x.mean(axis=1, keepdims=True)
    var = np.square(x - mean).mean(axis=1, keepdims=True)
    return mean, 1 / np.sqrt(var + wide(EPS))


def _forward_error(case: Case, data: CaseData, y: Array, wide: Any) -> float:
    chosen = _choose(case)
    x = _take(case, data.x, chosen, wide)
    weight, bias = _parameters(case, data, chosen, wide)
    if case.direction == "inference":
        mean = given(data.running_mean).astype(wide)[chosen, None]
        inv_std = 1 / np.sqrt(given(data.running_var).astype(wide)[chosen, None] + wide(EPS))
    else:
        mean, inv_std = _statistics(x, wide)
    product = (x - mean) * inv_std * weight
    exact = product + bias
    scale = np.maximum(np.maximum(np.abs(exact), np.abs(product)), np.abs(bias))
    error = np.abs(_take(case, y, chosen, wide) - exact)
    return _worst(error / unit_in_last_place(scale, y.dtype))


def _gradient_error(case: Case, data: CaseData, outputs: tuple[Array, ...], wide: Any) -> float:
    chosen = _choose(case)
    x = _take(case, data.x, chosen, wide)
    grad_output = _take(case, given(data.grad_output), chosen, wide)
    weight, _ = _parameters(case, data, chosen, wide)
    mean, inv_std = _statistics(x, wide)
    normalised = (x - mean) * inv_std
    grad = grad_output * weight
    product = grad * normalised
    exact = inv_std * (
        grad - grad.mean(axis=1, keepdims=True) - normalised * product.mean(axis=1, keepdims=True)
    )
    scale = inv_std * (
        np.abs(grad)
        + np.abs(grad).mean(axis=1, keepdims=True)
        + np.abs(normalised) * np.abs(product).mean(axis=1, keepdims=True)
    )
    roundoff = float(np.finfo(data.x.dtype).eps) / 2
    worst = _worst(np.abs(_take(case, outputs[0], chosen, wide) - exact) / (roundoff * scale))
    if case.layout == "rows":
        sums, columns = _column_sums(case, data, wide)
    else:
        terms = (grad_output * normalised, grad_output)
        sums = [(term.sum(axis=1), np.abs(term).sum(axis=1)) for term in terms]
        columns = chosen
    for (exact_sum, magnitude), computed in zip(sums, outputs[1:], strict=True):
        error = np.abs(computed.astype(wide)[columns] - exact_sum)
        worst = max(worst, _worst(error / (roundoff * magnitude)))
    return worst


def _column_sums(case: Case, data: CaseData, wide: Any) -> tuple[list[tuple[Array, Array]], Array]:
    """Exact gradients of weight and bias of a row norm, with their magnitudes, in some columns."""
    length = case.shape[-1]
    count = min(_JUDGED_COLUMNS, length)
    columns = np.unique(np.linspace(0, length - 1, count).astype(np.int64))
    x, grad_output = (a.reshape(-1, length) for a in (data.x, given(data.grad_output)))
    sums = np.zeros((4, len(columns)), dtype=wide)
    step = max(1, _BLOCK_ELEMENTS // length)
    for start in range(0, len(x), step):
        block = x[start : start + step].astype(wide)
        mean, inv_std = _statistics(block, wide)
        normalised = (block[:, columns] - mean) * inv_std
        grad = grad_output[start : start + step, columns].astype(wide)
        terms = (grad * normalised, np.abs(grad * normalised), grad, np.abs(grad))
        sums += np.stack([term.sum(axis=0) for term in terms])
    return [(sums[0], sums[1]), (sums[2], sums[3])], columns


def _dropout_error(case: Case, data: CaseData, y: Array, keep: Array | None) -> float:
    """Kept elements against the exact product; the mask against its probability or itself."""
    source = data.x if case.direction == "forward" else given(data.grad_output)
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
        error = np.abs(result[kept] - exact) / unit_in_last_place(exact, y.dtype)
        worst = max(worst, _worst(error))
    return worst


def _plausible(kept: int, total: int) -> bool:
    """Whether so many kept elements can come from the probability that was asked for."""
    deviation = np.sqrt(total * DROP_PROBABILITY * (1 - DROP_PROBABILITY))
    return bool(abs(kept - total * (1 - DROP_PROBABILITY)) <= _SIGMAS * deviation + 1)
