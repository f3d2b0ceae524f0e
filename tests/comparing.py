"""Assertions that several test files share: same bits, and whole calls against the reference."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

import normdrop as nd
from cases import DTYPES, wide
from described import Result
from good_calls import Case, get
from normdrop import reference
from oracles import Exact, error_in_roundoffs, error_in_units, unit_in_last_place
from tolerances import FRAMEWORK_RELATIVE, LIMITS, limits

Array = npt.NDArray[Any]
Axes = tuple[int, ...]


# Bits --------------------------------------------------------------------------------------------


def assert_same_bits(got: Any, expected: Any, message: str = "") -> None:
    """Equal in dtype, shape and every bit, NaN and the sign of 0 included; walks results."""
    if dataclasses.is_dataclass(expected):
        names = [field.name for field in dataclasses.fields(expected)]
        got, expected = (tuple(getattr(one, name) for name in names) for one in (got, expected))
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for left, right in zip(got, expected, strict=True):
            assert_same_bits(left, right, message)
        return
    if not isinstance(expected, np.ndarray):
        assert got == expected, message
        return
    assert got.dtype == expected.dtype and got.shape == expected.shape, message
    different = _bits(got) != _bits(expected)
    where = np.argwhere(different)[:3].tolist()
    assert not different.any(), f"{message}: {int(different.sum())} elements differ, at {where}"


def _bits(array: Array) -> Array:
    """The bits of every number, with one pattern for all NaNs: their payload means nothing."""
    if array.dtype not in DTYPES:
        return array
    numbers = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return np.ascontiguousarray(numbers).view(f"u{array.itemsize}").reshape(array.shape)


def assert_within(errors: Array | float, limit: float, message: str = "") -> None:
    """The worst error is within a limit of ``tolerances``."""
    worst = float(np.max(errors, initial=0.0))
    assert worst <= limit, f"{message}: error {worst:.4g}, limit {limit:.4g}"


def close_to_framework(got: Array, theirs: Any) -> None:
    """The same meaning as a tensor of PyTorch, which is computed in float32."""
    expected = theirs.detach().numpy()
    assert got.shape == expected.shape
    scale = np.abs(expected).max(initial=1.0)
    assert np.abs(got - expected).max(initial=0.0) <= FRAMEWORK_RELATIVE * scale


# Errors against the reference ------------------------------------------------------------------


def rounded(high: Array, scale: Array) -> Exact:
    """What the reference says, as if it were exact."""
    return Exact(high, np.zeros(high.shape), np.broadcast_to(scale, high.shape))


def forward_units(
    got: Array, y: Array, y_without_bias: Array, condition: Array | float = 0
) -> Array:
    """Units between a result and the reference, given the reference with and without bias.

    Against float64 results the reference has no digits to spare: its own rounding is of the size
    of ``condition``, which then counts into the scale.
    """
    bias = y - y_without_bias
    scale = np.maximum(np.maximum(np.abs(y), np.abs(y_without_bias)), np.abs(bias))
    if got.dtype == np.float64:
        scale = np.maximum(scale, condition)
    return error_in_units(got, rounded(y, scale))


def reference_condition(x: Array, inv_std: Array, y_without_bias: Array, axes: Axes) -> Array:
    """How far rounding x - mean once may move what comes of it, relative to one roundoff."""
    spread = np.abs(x).max(axes, keepdims=True, initial=0.0) * inv_std
    weights = np.abs(y_without_bias).max(axes, keepdims=True, initial=0.0)
    return spread * np.maximum(weights, 1e-3)


def gradient_roundoffs(
    got: Array, expected: Array, grad: Array, x: Array, mean: Array, inv_std: Array, axes: Axes
) -> Array:
    """Roundoffs between a gradient of x and the reference.

    ``grad`` is grad_output * weight; ``mean`` and ``inv_std`` broadcast against x.
    """
    x_hat = (x.astype(np.float64) - mean) * inv_std
    mean_grad = np.abs(grad).mean(axes, keepdims=True)
    mean_product = np.abs(grad * x_hat).mean(axes, keepdims=True)
    spread = np.abs(grad) + mean_grad + np.abs(x_hat) * mean_product
    return error_in_roundoffs(got, rounded(expected, spread * inv_std))


def parameter_roundoffs(got: Array, expected: Array, terms: Array, axes: Axes) -> Array:
    """Roundoffs between a gradient of weight or bias and the reference."""
    return error_in_roundoffs(got, rounded(expected, np.abs(terms).sum(axes)))


def assert_statistics(got: Array, expected: Array, scale: Array, message: str) -> None:
    """Statistics are double whatever the dtype of x, and the reference is too."""
    assert got.dtype == np.float64 and got.shape == expected.shape, message
    error = np.abs(got - expected) / unit_in_last_place(scale, np.float64)
    assert_within(error, LIMITS["float64"].reference, message)


def along(parameter: Array | None, axes: Axes, ndim: int) -> Array:
    """A parameter in double, shaped to broadcast against x; 1 where there is none."""
    if parameter is None:
        return np.ones((1,) * ndim)
    sizes = iter(parameter.shape)
    shape = [next(sizes) if i in axes else 1 for i in range(ndim)]
    return parameter.astype(np.float64).reshape(shape)


def split_axes(axis: int | Axes, ndim: int) -> tuple[Axes, Axes]:
    """The axes named, and the others."""
    named = axis if isinstance(axis, tuple) else (axis,)
    inside = tuple(sorted(i % ndim for i in named))
    return inside, tuple(i for i in range(ndim) if i not in inside)


# Whole calls against the reference ---------------------------------------------------------------


def check_layer_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    grad: Array,
    *,
    axis: int | Axes = -1,
    eps: float = 1e-5,
) -> None:
    """Forward, statistics and gradients of one call."""
    inside, outside = split_axes(axis, x.ndim)
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis, eps=eps)
    expected, expected_stats = reference.layer_norm_forward(x, weight, bias, axis=axis, eps=eps)
    plain = reference.layer_norm(x, weight, None, axis=axis, eps=eps)
    assert y.dtype == x.dtype and y.shape == x.shape
    inv_std = np.expand_dims(expected_stats.inv_std, inside)
    condition = reference_condition(x, inv_std, plain, inside)
    assert_within(forward_units(y, expected, plain, condition), limits(x.dtype).reference, "y")
    assert_statistics(stats.mean, expected_stats.mean, np.abs(x).mean(inside), "mean")
    own = np.maximum(1.0, np.abs(x).max(inside, initial=0.0) * expected_stats.inv_std)
    assert_statistics(
        stats.inv_std, expected_stats.inv_std, expected_stats.inv_std * own, "inv_std"
    )
    got = nd.layer_norm_backward(grad, x, stats, weight, axis=axis, bias=bias is not None)
    want = reference.layer_norm_backward(grad, x, stats, weight, axis=axis, bias=bias is not None)
    mean, inv_std = (np.expand_dims(value, inside) for value in stats)
    check_gradients(got, want, grad, x, weight, (mean, inv_std), inside, outside, inside)


def check_batch_norm(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    grad: Array,
    *,
    channel_axis: int = 1,
    eps: float = 1e-5,
    frozen: bool = False,
) -> None:
    """Training forward, statistics and gradients of one call."""
    channel, others = split_axes(channel_axis, x.ndim)
    options: dict[str, Any] = {"channel_axis": channel_axis, "eps": eps}
    y, stats = nd.batch_norm_forward(x, weight, bias, **options)
    expected, expected_stats = reference.batch_norm_forward(x, weight, bias, **options)
    plain, _ = reference.batch_norm_forward(x, weight, None, **options)
    assert y.dtype == x.dtype and y.shape == x.shape and stats.count == expected_stats.count
    condition = reference_condition(
        x, along(expected_stats.inv_std, channel, x.ndim), plain, others
    )
    assert_within(forward_units(y, expected, plain, condition), limits(x.dtype).reference, "y")
    assert_statistics(stats.mean, expected_stats.mean, np.abs(x).mean(others), "mean")
    own = np.maximum(1.0, np.abs(x).max(others, initial=0.0) * expected_stats.inv_std)
    for name in ("var", "inv_std"):
        exact = getattr(expected_stats, name)
        assert_statistics(getattr(stats, name), exact, exact * own, name)
    backward: dict[str, Any] = {
        "channel_axis": channel_axis, "frozen": frozen, "bias": bias is not None
    }  # fmt: skip
    got = nd.batch_norm_backward(grad, x, stats, weight, **backward)
    want = reference.batch_norm_backward(grad, x, stats, weight, **backward)
    shaped = (along(stats.mean, channel, x.ndim), along(stats.inv_std, channel, x.ndim))
    check_gradients(got, want, grad, x, weight, shaped, channel, others, others)


def check_gradients(
    got: nd.Gradients,
    want: nd.Gradients,
    grad: Array,
    x: Array,
    weight: Array | None,
    stats: tuple[Array, Array],
    parameter_axes: Axes,
    summed_axes: Axes,
    reduced_axes: Axes,
) -> None:
    """All three gradients of a norm against the reference's."""
    weighted = grad * along(weight, parameter_axes, x.ndim)
    assert got.x.dtype == x.dtype and got.x.shape == x.shape
    errors = gradient_roundoffs(got.x, want.x, weighted, x, *stats, reduced_axes)
    assert_within(errors, limits(x.dtype).reference_gradient, "grad x")
    terms = {"weight": grad * (x.astype(np.float64) - stats[0]) * stats[1], "bias": grad}
    for name, term in terms.items():
        left, right = getattr(got, name), getattr(want, name)
        assert (left is None) == (right is None), f"gradient of {name}"
        if right is not None:
            parameter_dtype = x.dtype if weight is None else weight.dtype
            assert left.dtype == parameter_dtype and left.shape == right.shape
            errors = parameter_roundoffs(left, right, term, summed_axes)
            limit = limits(parameter_dtype).reference_gradient
            assert_within(errors, limit, f"grad {name}")


# Whole calls of described operations -------------------------------------------------------------


def fence(case: Case, arguments: dict[str, Any], one: Result) -> float:
    """How far a result may be from the definition's, relative to the largest element."""
    dtype, own = one.array.dtype, get(arguments, case.function.leader).dtype
    if one.role == "new_statistic" and case.function.passed("draw"):
        dtype = own  # of what the call itself has rounded
    elif one.role == "new_statistic" and case.function.arrays("like"):
        dtype = wide(own)  # sums of gradients, in single precision where that is enough
    return limits(dtype).fence_relative


def assert_near_reference(case: Case, arguments: dict[str, Any], returned: Any) -> None:
    """Every result of a call against the definition's: a fence, for what holds of all operations.

    A wrong element is another number; the last digits are the work of the tests of each operation.
    """
    function = case.function
    want = function.results(function.reference(**arguments), arguments)
    got = function.results(returned, arguments)
    for one, exact in zip(got, want, strict=True):
        if one.role == "new_count":
            assert one.array == exact.array
            continue
        assert one.array.shape == exact.array.shape, one.name
        scale = np.abs(exact.array[np.isfinite(exact.array)]).max(initial=0.0)
        np.testing.assert_allclose(
            one.array.astype(np.float64), exact.array, rtol=0,
            atol=fence(case, arguments, one) * scale, err_msg=f"{one.name} of {case}",
        )  # fmt: skip
