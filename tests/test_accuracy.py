"""Every element against exact answers, on ordinary rows and on those that broke other packages.

The oracles compute with rationals, so each row is solved once and serves every backend.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import (
    DTYPES,
    HALF_TYPES,
    Row,
    adversarial_rows,
    generator,
    is_device,
    normal,
    parameter,
    rows_at_the_ends,
    tiny_rows,
)
from comparing import assert_same_bits, assert_within
from oracles import (
    Exact,
    ExactStatistics,
    error_in_roundoffs,
    error_in_units,
    exact_affine,
    exact_dot,
    exact_gradient,
    exact_normalise,
    exact_weight_gradient,
    is_nearest,
    long_normalise,
    statistics_units,
)
from tolerances import PERTURBATION, ROUNDING, limits

LENGTH = 770  # 7 * 110, so that a channel can be cut into images; no multiple of 4 vectors


class Solved(NamedTuple):
    """A row with its exact answers, plain and with weight and bias of either kind."""

    row: Row
    weight: np.ndarray
    bias: np.ndarray
    statistics: ExactStatistics
    plain: Exact
    affine: Exact
    scalar: Exact  # weight[0] and bias[0] for the whole row, as a channel has them


@cache
def solved(dtype: type) -> dict[str, Solved]:
    rows = adversarial_rows(dtype, LENGTH) + tiny_rows(dtype)
    if dtype in HALF_TYPES:
        rows += rows_at_the_ends(dtype, LENGTH)
    return {row.name: solve(row) for row in rows}


def solve(row: Row) -> Solved:
    size, dtype = row.values.shape, row.values.dtype
    weight, bias = parameter(size, dtype, "weight"), parameter(size, dtype, "bias")
    plain, statistics = exact_normalise(row.values, eps=row.eps)
    affine, _ = exact_normalise(row.values, weight, bias, eps=row.eps)
    scalar, _ = exact_normalise(row.values, weight[:1], bias[:1], eps=row.eps)
    return Solved(row, weight, bias, statistics, plain, affine, scalar)


def of_rows(wanted: Callable[[type, str], bool]) -> pytest.MarkDecorator:
    """Every dtype with the names of its rows."""
    pairs = [(dtype, name) for dtype in DTYPES for name in solved(dtype) if wanted(dtype, name)]
    return pytest.mark.parametrize(
        ("dtype", "name"), pairs, ids=lambda value: getattr(value, "__name__", value)
    )


EVERY_ROW = of_rows(lambda dtype, name: True)


def assert_statistics(case: Solved, mean: float, inv_std: float, var: float | None = None) -> None:
    limit = limits(case.row.values.dtype)
    values = np.abs(case.row.values.astype(np.float64))
    largest = values.max()
    magnitude = float(np.mean(values / largest) * largest) if largest else 0.0  # no overflow
    assert_within(statistics_units(mean, case.statistics.mean, magnitude), limit.mean, "mean")
    assert_within(statistics_units(inv_std, case.statistics.inv_std), limit.inv_std, "inv_std")
    if var is not None:
        assert var >= 0
        assert_within(statistics_units(var, case.statistics.var), limit.var, "var")


# Forward -----------------------------------------------------------------------------------------


@EVERY_ROW
def test_layer_norm_of_rows(name, dtype, backend):
    """Offsets, outliers, ranges, ramps, subnormals: A1, A2, A6 to A12, A14, A16 by row."""
    case = solved(dtype)[name]
    x = np.stack([normal(case.row.values.shape, dtype, "other"), case.row.values])
    for weight, bias, exact in ((None, None, case.plain), (case.weight, case.bias, case.affine)):
        y, stats = nd.layer_norm_forward(x, weight, bias, eps=case.row.eps)
        assert_within(error_in_units(y[1], exact), limits(dtype).forward, name)
        assert_statistics(case, float(stats.mean[1]), float(stats.inv_std[1]))


@EVERY_ROW
def test_layer_norm_of_columns(name, dtype, backend):
    """Channels first: the same rows, strided through memory beside others."""
    case = solved(dtype)[name]
    x = np.repeat(normal((2, case.row.values.size, 1), dtype, "other"), 19, axis=2)
    x[1, :, 17] = case.row.values
    for weight, bias, exact in ((None, None, case.plain), (case.weight, case.bias, case.affine)):
        y, stats = nd.layer_norm_forward(x, weight, bias, axis=1, eps=case.row.eps)
        assert_within(error_in_units(y[1, :, 17], exact), limits(dtype).forward, name)
        assert_statistics(case, float(stats.mean[1, 17]), float(stats.inv_std[1, 17]))


def as_channel(values: np.ndarray, layout: str) -> tuple[np.ndarray, int, tuple]:
    """x with the values as channel 1 of 3, the channel axis and the index of the channel."""
    images = 7 if values.size % 7 == 0 else 1
    shape = (values.size, 3) if layout == "columns" else (images, 3, values.size // images)
    x = np.ones(shape, values.dtype)
    x[:, 0], x[:, 2] = 5.0, normal(x[:, 2].shape, values.dtype, "other")
    index = (slice(None), 1)
    x[index] = values.reshape(x[index].shape)
    return x, 1, index


@pytest.mark.parametrize("layout", ["columns", "images"])
@EVERY_ROW
def test_batch_norm_of_channels(name, dtype, layout, backend):
    """The layout and the number of channels decided which formula was used (A9)."""
    case = solved(dtype)[name]
    if case.row.values.size < 2:
        pytest.skip("training needs two values per channel")
    x, axis, index = as_channel(case.row.values, layout)
    for weight, bias, exact in ((None, None, case.plain), (case.weight, case.bias, case.scalar)):
        w, b = (None if v is None else np.full(3, v[0]) for v in (weight, bias))
        y, stats = nd.batch_norm_forward(x, w, b, channel_axis=axis, eps=case.row.eps)
        assert_within(error_in_units(y[index].ravel(), exact), limits(dtype).forward, name)
        mean, var, inv_std = (float(value[1]) for value in stats[:3])
        assert_statistics(case, mean, inv_std, var)


@EVERY_ROW
def test_batch_norm_inference(name, dtype, backend):
    """Statistics as passed, close to the data: x - mean must not be rounded in float32."""
    case = solved(dtype)[name]
    mean, var = case.statistics.mean, min(case.statistics.var, 1e300)
    with np.errstate(over="ignore"):
        running = [np.array([1.0, value, 1.0]) for value in (mean, var)]
    x, axis, index = as_channel(case.row.values, "images")
    weight, bias = np.full(3, case.weight[0]), np.full(3, case.bias[0])
    exact = exact_affine(case.row.values, mean, var, weight[:1], bias[:1], eps=1e-5)
    y = nd.batch_norm(x, *running, weight, bias, channel_axis=axis, eps=1e-5)
    assert_within(error_in_units(y[index].ravel(), exact), limits(dtype).forward, name)


LENGTHS = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 65, 100, 127, 129, 333, 1000, 4096]


@cache
def ordinary(dtype: type, length: int) -> Solved:
    return solve(Row("ordinary", normal((length,), dtype, "ordinary", offset=0.7)))


@pytest.mark.parametrize("length", LENGTHS)
def test_ordinary_rows_of_many_lengths(length, dtype, backend):
    case = ordinary(dtype, length)
    x = np.stack([case.row.values] * 3)
    y, stats = nd.layer_norm_forward(x, case.weight, case.bias)
    for row in y:
        assert_within(error_in_units(row, case.affine), limits(dtype).forward)
    assert_statistics(case, float(stats.mean[1]), float(stats.inv_std[1]))
    y = nd.layer_norm(np.ascontiguousarray(x.T), case.weight, case.bias, axis=0)
    assert_within(error_in_units(y[:, 2], case.affine), limits(dtype).forward)


# Half types: rounded once -------------------------------------------------------------------------


@cache
def ordinary_as_channel(dtype: type, length: int) -> Exact:
    case = ordinary(dtype, length)
    return exact_normalise(case.row.values, case.weight[:1], case.bias[:1])[0]


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_half_types_are_the_nearest_number(dtype, backend):
    """Of ordinary data, whatever the layout and whichever pass it takes."""
    length = 4096
    case, channel = ordinary(dtype, length), ordinary_as_channel(dtype, length)
    row, share = case.row.values, limits(dtype).rounded_share
    columns = np.stack([row] * 3, axis=-1)
    images = columns.T.reshape(1, 3, length).copy()
    weight, bias = (np.full(3, values[0]) for values in (case.weight, case.bias))
    y = nd.layer_norm(row, case.weight, case.bias)
    assert is_nearest(y, case.affine).mean() >= share
    assert is_nearest(nd.layer_norm(row), case.plain).mean() >= share
    y = nd.layer_norm(columns, case.weight, case.bias, axis=0)
    assert is_nearest(y[:, 1].copy(), case.affine).mean() >= share
    y, stats = nd.batch_norm_forward(columns, weight, bias)
    assert is_nearest(y[:, 1].copy(), channel).mean() >= share
    for y in (
        nd.batch_norm_forward(images, weight, bias)[0],
        nd.batch_norm(images, stats.mean, stats.var, weight, bias),
    ):
        assert is_nearest(y[0, 1].copy(), channel).mean() >= share


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("length", [17, 333, 1000])
def test_float32_parameters_of_half_types(length, dtype, backend):
    """Parameters that a half type could not hold count with all their digits."""
    x = normal((3, length), dtype, "x", offset=0.7)
    grad = normal((3, length), dtype, "grad")
    weight, bias = (parameter((length,), np.float32, name) for name in ("weight", "bias"))
    exact, _ = exact_normalise(x[1], weight, bias)
    y, stats = nd.layer_norm_forward(x, weight, bias)
    assert_within(error_in_units(y[1], exact), limits(dtype).forward)
    assert is_nearest(y[1], exact).mean() >= limits(dtype).rounded_share
    y = nd.layer_norm(np.ascontiguousarray(x.T), weight, bias, axis=0)
    assert_within(error_in_units(y[:, 1], exact), limits(dtype).forward)
    got = nd.layer_norm_backward(grad, x, stats, weight)
    mean, inv_std = float(stats.mean[1]), float(stats.inv_std[1])
    exact = exact_gradient(grad[1], x[1], mean, inv_std, weight)
    assert_within(error_in_roundoffs(got.x[1], exact), limits(dtype).gradient)
    assert got.x.dtype == dtype and got.weight.dtype == got.bias.dtype == np.float32
    exact = exact_weight_gradient(grad[:, 5], x[:, 5], stats.mean, stats.inv_std)
    limit = limits(np.float32).parameter_gradient
    assert_within(error_in_roundoffs(got.weight[5:6], exact), limit, "weight")
    assert_within(error_in_roundoffs(got.bias[5:6], exact_dot(grad[:, 5], np.ones(3))), limit)


@cache
def every_value(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """All 65536 bit patterns, and which of them are finite."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs are among them
        return x, np.isfinite(x)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_every_value_alone_is_the_bias(dtype, backend):
    """Rows of one element: 0 times anything but NaN and inf, in every lane of a vector."""
    x, finite = every_value(dtype)
    bias = np.array([0.3], dtype)
    y, stats = nd.layer_norm_forward(x[:, None], None, bias)
    assert (y[finite] == bias).all() and np.isnan(y[~finite]).all()
    assert (stats.mean[finite] == x[finite].astype(np.float64)).all()


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_every_value_beside_another(dtype, backend):
    """Rows (v, 0): a load or a store that is wrong for one value of 65536 shows."""
    x, finite = every_value(dtype)
    x = x[finite]
    pairs = np.stack([x, np.zeros_like(x)], axis=-1)
    half = x.astype(np.float64) / 2
    y, stats = nd.layer_norm_forward(pairs, eps=1e-5)
    want = half / np.sqrt(half * half + 1e-5)
    exact = Exact(want, np.zeros(want.shape), np.abs(want))
    for column, sign in ((0, 1), (1, -1)):
        errors = error_in_units(sign * y[:, column], exact)
        assert_within(errors, limits(dtype).forward)
        assert is_nearest(sign * y[:, column], exact).mean() >= limits(dtype).rounded_share
    assert (stats.mean == half).all()


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_every_value_is_stored_as_it_is(dtype, backend):
    """A frozen backward with inv_std = 1 and inference with var = 1 give back what came in."""
    x, finite = every_value(dtype)
    numbers = x[finite].reshape(-1, 1, 16)
    y = nd.batch_norm(numbers, np.zeros(1), np.ones(1), eps=0.0)
    assert (y == numbers).all()
    stats = nd.BatchStats(np.zeros(1), np.ones(1), np.ones(1), 0)
    got = nd.batch_norm_backward(numbers, np.zeros_like(numbers), stats, frozen=True)
    assert (got.x == numbers).all()
    y = nd.dropout(x, 0.0, rng=3)
    assert_same_bits(y[finite], x[finite])
    with np.errstate(invalid="ignore"):
        nan, infinite = np.isnan(x), np.isinf(x)
    assert np.isnan(y[nan]).all() and (y[infinite] == x[infinite]).all()


# Long rows ---------------------------------------------------------------------------------------


LONG = {
    "ordinary": (0.0, 1.0),
    "mean_100_std_0.01": (100.0, 0.01),
    "mean_over_std_2^20": (2.0**20, 1.0),
    "outlier": (0.0, 1.0),
    "ramp_on_40000": (40000.0, 0.0),
}


@cache
def solved_long(dtype: type, name: str) -> tuple[np.ndarray, Exact, ExactStatistics]:
    offset, spread = LONG[name]
    count = 600_011 if dtype is np.float32 else 262_147
    row = normal((count,), np.float64, "long") * spread + offset
    if name == "outlier":
        row[-1] = 1e12
    if name.startswith("ramp"):
        row += np.arange(count)
    row = row.astype(dtype)
    return row, *long_normalise(row)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (dtype, name)
        for dtype in DTYPES
        for name in LONG
        if dtype is not np.float16 or name in ("ordinary", "mean_100_std_0.01")
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_long_rows_and_channels(name, dtype, backend):
    """Sequential sums and merges of blocks lose digits with length (A2, A3)."""
    row, exact, statistics = solved_long(dtype, name)
    case = Solved(Row(name, row), row, row, statistics, exact, exact, exact)
    y, stats = nd.layer_norm_forward(row)
    assert_within(error_in_units(y, exact), limits(dtype).forward, "row")
    assert_statistics(case, float(stats.mean), float(stats.inv_std))
    columns = np.ones((row.size, 3), dtype)
    columns[:, 1] = row
    y, stats = nd.layer_norm_forward(columns, axis=0)
    assert_within(error_in_units(y[:, 1], exact), limits(dtype).forward, "column")
    y, stats = nd.batch_norm_forward(columns)
    assert_within(error_in_units(y[:, 1], exact), limits(dtype).forward, "channel")
    assert_statistics(case, *(float(s[1]) for s in (stats.mean, stats.inv_std, stats.var)))
    images = np.ones((1, 3, row.size), dtype)
    images[0, 1] = row
    y, stats = nd.batch_norm_forward(images)
    assert_within(error_in_units(y[0, 1], exact), limits(dtype).forward, "image channel")


# Gradients ---------------------------------------------------------------------------------------

GRADIENT_ROWS = [
    "mean_over_std_2^0",
    "mean_over_std_2^10",
    "mean_over_std_2^20",
    "first_element_1e30",
    "last_element_1e30",
    "near_1e37",
    "tiny_1e-30",
    "tiny_1e-30_eps_0",
    "large_eps",
    "ramp_on_40000",
    "alternating",
    "two_neighbours",
    "decades",
    "length_1",
    "ramp_of_four_on_40000",
    "largest_of_both_signs",
    "largest_but_one",
    "just_below_the_largest",
]


def has_gradient(dtype: type, name: str) -> bool:
    """Not where inv_std is infinite: rows that a half type holds as a constant, at eps = 0."""
    return name in GRADIENT_ROWS and np.isfinite(solved(dtype)[name].statistics.inv_std)


def upstream(kind: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """grad_output: ordinary, or such that its mean or its first element drowns the rest."""
    grad = normal(shape, np.float64, "grad", kind)
    if kind == "big_mean":
        grad += 1e4
    if kind == "outlier":
        grad.ravel()[0] = min(1e6, float(finfo(dtype).max) / 2)
    return grad.astype(dtype)


@cache
def solved_gradient(
    dtype: type, name: str, kind: str, mean: float, inv_std: float, weighted: bool, frozen: bool
) -> Exact:
    case = solved(dtype)[name]
    grad = upstream(kind, case.row.values.shape, dtype)
    weight = case.weight if weighted else None
    if frozen:
        weight = case.weight[:1]
    return exact_gradient(grad, case.row.values, mean, inv_std, weight, frozen=frozen)


@pytest.mark.parametrize("kind", ["ordinary", "big_mean", "outlier"])
@of_rows(has_gradient)
def test_gradient_of_layer_norm(name, kind, dtype, backend):
    """Componentwise, scaled by the condition, at the statistics as passed (H1, H10)."""
    case = solved(dtype)[name]
    size = case.row.values.size
    x = np.stack([normal((size,), dtype, "other"), case.row.values])
    grad = np.stack([normal((size,), dtype, "other grad"), upstream(kind, (size,), dtype)])
    _, stats = nd.layer_norm_forward(x, eps=case.row.eps)
    key = (dtype, name, kind, float(stats.mean[1]), float(stats.inv_std[1]))
    for weighted in (False, True):
        exact = solved_gradient(*key, weighted, False)
        weight = case.weight if weighted else None
        got = nd.layer_norm_backward(grad, x, stats, weight)
        assert_within(error_in_roundoffs(got.x[1], exact), limits(dtype).gradient, "rows")
        columns = nd.layer_norm_backward(
            np.ascontiguousarray(grad.T), np.ascontiguousarray(x.T), stats, weight, axis=0
        )
        assert_within(error_in_roundoffs(columns.x[:, 1], exact), limits(dtype).gradient, "columns")


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("layout", ["columns", "images"])
@of_rows(lambda dtype, name: has_gradient(dtype, name) and name != "length_1")
def test_gradient_of_batch_norm(name, layout, frozen, dtype, backend):
    case = solved(dtype)[name]
    x, _, index = as_channel(case.row.values, layout)
    grad = np.ones_like(x)
    grad[index] = upstream("ordinary", case.row.values.shape, dtype).reshape(x[index].shape)
    weight = np.full(3, case.weight[0])
    _, stats = nd.batch_norm_forward(x, eps=case.row.eps)
    got = nd.batch_norm_backward(grad, x, stats, weight, frozen=frozen)
    mean, inv_std = float(stats.mean[1]), float(stats.inv_std[1])
    if frozen:
        exact = solved_gradient(dtype, name, "ordinary", mean, inv_std, True, True)
    else:
        exact = exact_gradient(grad[index].ravel(), case.row.values, mean, inv_std, weight[:1])
    assert_within(error_in_roundoffs(got.x[index].ravel(), exact), limits(dtype).gradient)
    channel = (grad[index].ravel(), case.row.values)
    exact = exact_weight_gradient(*channel, np.array(mean), np.array(inv_std))
    limit = limits(dtype).parameter_gradient
    assert_within(error_in_roundoffs(got.weight[1:2], exact), limit, "grad weight")
    exact = exact_dot(channel[0], np.ones(channel[0].size))
    assert_within(error_in_roundoffs(got.bias[1:2], exact), limit, "grad bias")


@cache
def solved_long_gradient(dtype: type, offset: float) -> tuple:
    """A long row, its gradient and those of one weight and bias, at statistics of its own."""
    row = normal((30_011,), dtype, "long", offset=offset)
    grad = normal(row.shape, dtype, "long grad", offset=0.5)
    mean, inv_std = float(row.mean(dtype=np.float64)), 1.0 / float(row.std(dtype=np.float64))
    weight = exact_weight_gradient(grad, row, np.array(mean), np.array(inv_std))
    bias = exact_dot(grad, np.ones(row.size))
    return row, grad, mean, inv_std, exact_gradient(grad, row, mean, inv_std), weight, bias


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_gradients_of_long_rows_and_channels(offset, dtype, backend):
    """Sums of many terms, in rows, columns and channels."""
    row, grad, mean, inv_std, exact, weight, bias = solved_long_gradient(dtype, offset)
    limit = limits(dtype)
    stats = nd.NormStats(np.array(mean), np.array(inv_std))
    got = nd.layer_norm_backward(grad, row, stats)
    assert_within(error_in_roundoffs(got.x, exact), limit.gradient, "row")
    x, upward = (np.stack([values, values[::-1], values], axis=-1) for values in (row, grad))
    columns = nd.NormStats(np.full(3, mean), np.full(3, inv_std))
    got = nd.layer_norm_backward(upward, x, columns, axis=0)
    assert_within(error_in_roundoffs(got.x[:, 2], exact), limit.gradient, "column")
    channels = nd.BatchStats(columns.mean, np.full(3, inv_std**-2), columns.inv_std, row.size)
    ones = np.ones(3, dtype)
    images = (np.ascontiguousarray(values.T)[None] for values in (upward, x))
    for gradients, grad_x in (
        (found := nd.batch_norm_backward(upward, x, channels, ones), found.x[:, 2]),
        (found := nd.batch_norm_backward(*images, channels, ones), found.x[0, 2]),
    ):
        assert_within(error_in_roundoffs(grad_x.copy(), exact), limit.gradient, "channel")
        for got, wanted in ((gradients.weight, weight), (gradients.bias, bias)):
            errors = error_in_roundoffs(got[2:], wanted)
            assert_within(errors, limit.parameter_gradient, "parameters")


@pytest.mark.parametrize("rows", [1, 2, 53, 1009])
def test_parameter_gradients_of_layer_norm(rows, dtype, backend):
    """One row used to leave a partial buffer as it was (H9)."""
    x = normal((rows, 37), dtype, "x", offset=100.0)
    grad = normal((rows, 37), dtype, "grad", offset=3.0)
    weight = parameter((37,), dtype, "weight")
    _, stats = nd.layer_norm_forward(x)
    got = nd.layer_norm_backward(grad, x, stats, weight)
    columns = nd.layer_norm_backward(
        np.ascontiguousarray(grad.T), np.ascontiguousarray(x.T), stats, weight, axis=0
    )
    limit = limits(dtype).parameter_gradient
    for i in (0, 18, 36):
        exact = exact_weight_gradient(grad[:, i], x[:, i], stats.mean, stats.inv_std)
        bias = exact_dot(grad[:, i], np.ones(rows))
        for gradients in (got, columns):
            assert_within(error_in_roundoffs(gradients.weight[i : i + 1], exact), limit, "weight")
            assert_within(error_in_roundoffs(gradients.bias[i : i + 1], bias), limit, "bias")


# The comparison itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["mean_over_std_2^10", "mean_over_std_2^14", "mean_over_std_2^20"])
def test_careless_formulas_are_rejected(name, dtype):
    """E[x^2] - E[x]^2, a rounded mean and the unbiased variance must all be seen."""
    case = solved(dtype)[name]
    x, one = case.row.values, dtype(1)
    mean = x.mean(dtype=dtype)
    one_pass = max(float((x * x).mean(dtype=dtype) - mean * mean), 0.0)
    wrong = {
        "one pass": (x - mean) / np.sqrt(dtype(one_pass) + dtype(1e-5)),
        "unbiased": (x - mean) / np.sqrt(x.var(dtype=dtype, ddof=1) + dtype(1e-5)),
        "eps outside": (x - mean) / (np.sqrt(x.var(dtype=np.float64)) + 1e-2) * one,
    }
    for formula, y in wrong.items():
        worst = error_in_units(y.astype(dtype), case.plain).max()
        assert worst > limits(dtype).forward, formula


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_arithmetic_in_half_types_is_rejected(dtype):
    """A mean, a difference or inv_std rounded to the type that is stored must be seen."""
    case = ordinary(dtype, 1000)
    x, mean, inv_std = case.row.values, case.statistics.mean, case.statistics.inv_std
    wide = x.astype(np.float64)
    wrong = {
        "mean": (wide - float(dtype(mean))) * inv_std,
        "difference": (x - dtype(mean)).astype(np.float64) * inv_std,
        "inv_std": (wide - mean) * float(dtype(inv_std)),
        "two roundings": ((wide - mean) * inv_std).astype(dtype).astype(np.float64) * (1 + 1e-2),
    }
    for formula, y in wrong.items():
        y = y.astype(dtype)
        share = is_nearest(y, case.plain).mean()
        assert share < limits(dtype).rounded_share, formula


def test_perturbed_results_are_rejected(dtype):
    """A limit that nothing exceeds proves nothing (H1, H4)."""
    case = ordinary(dtype, 333)
    y, stats = nd.layer_norm_forward(case.row.values, case.weight, case.bias)
    y[5] *= 1 + PERTURBATION * limits(dtype).forward * finfo(dtype).eps
    assert error_in_units(y, case.affine).max() > limits(dtype).forward
    grad = upstream("ordinary", (333,), dtype)
    got = nd.layer_norm_backward(grad, case.row.values, stats, case.weight)
    exact = exact_gradient(
        grad, case.row.values, float(stats.mean), float(stats.inv_std), case.weight
    )
    assert error_in_roundoffs(got.x, exact).max() <= limits(dtype).gradient
    scale = float(exact.scale[7]) * finfo(dtype).eps
    got.x[7] += dtype(PERTURBATION * limits(dtype).gradient * scale)
    assert error_in_roundoffs(got.x, exact).max() > limits(dtype).gradient


# Exact statistics: nothing is left but the roundings of the closing pass --------------------------


WHOLE_ROWS = [(64, 100, seed) for seed in range(6)] + [(256, 9, seed) for seed in range(12)]
EVERY_CHOICE = [(False, False), (True, False), (False, True), (True, True)]


@cache
def whole(length: int, largest: int, seed: int) -> np.ndarray:
    """Whole numbers and their negatives, which every dtype holds: mean 0, and an exact variance."""
    random = generator("whole", length, largest, seed)
    half = random.integers(-largest, largest, size=length // 2, endpoint=True)
    return random.permutation(np.concatenate([half, -half])).astype(np.float64)


@cache
def solved_whole(
    dtype: type, length: int, largest: int, seed: int
) -> dict[tuple[bool, bool], Solved]:
    """For every choice of weight and bias; where one is left out it is None."""
    row = Row("whole", whole(length, largest, seed).astype(dtype))
    solutions = {}
    for choice in EVERY_CHOICE:
        given = [
            parameter(row.values.shape, dtype, name, seed) if wanted else None
            for name, wanted in zip(("weight", "bias"), choice, strict=True)
        ]
        affine, statistics = exact_normalise(row.values, *given)
        first = (None if values is None else values[:1] for values in given)
        scalar, _ = exact_normalise(row.values, *first)
        solutions[choice] = Solved(row, *given, statistics, affine, affine, scalar)
    return solutions


def assert_rounded_last(
    y: np.ndarray, exact: Exact, choice: tuple[bool, bool], backend: str
) -> None:
    """Once at the end, and once for the bias, to which what x^ lacks is added.

    float64 without a fused multiply-add: x^ is rounded as well, and so is its product with the
    weight, in which half a unit of x^ may be a whole one.
    """
    weight, bias = choice
    roundings = 1 + bias
    fused = backend != "baseline" or platform.machine() not in ("x86_64", "AMD64")
    if y.dtype == np.float64 and not fused:
        roundings += 1 + 2 * weight
    assert_within(error_in_units(y, exact), roundings * ROUNDING, f"weight, bias: {choice}")


@pytest.mark.parametrize("choice", EVERY_CHOICE)
@pytest.mark.parametrize(("length", "largest", "seed"), WHOLE_ROWS)
def test_inference_rounds_at_the_end_only(length, largest, seed, choice, dtype, backend):
    """1 / sqrt(var + eps) and x^ have digits that the dtype does not hold, and they count."""
    case = solved_whole(dtype, length, largest, seed)[choice]
    running = np.zeros(3), np.full(3, case.statistics.var)
    given = [None if v is None else np.full(3, v[0]) for v in (case.weight, case.bias)]
    for layout in ("columns", "images"):
        x, axis, index = as_channel(case.row.values, layout)
        y = nd.batch_norm(x, *running, *given, channel_axis=axis)
        assert_rounded_last(y[index].ravel(), case.scalar, choice, backend)


@pytest.mark.parametrize("choice", EVERY_CHOICE)
@pytest.mark.parametrize(("length", "largest", "seed"), WHOLE_ROWS)
def test_training_rounds_at_the_end_only(length, largest, seed, choice, dtype, backend):
    """The same where the statistics are computed: those of whole numbers come out exact."""
    if is_device(backend):
        pytest.skip("parts have means of their own there, and these are not whole numbers")
    case = solved_whole(dtype, length, largest, seed)[choice]
    values = case.row.values
    y = nd.layer_norm(values, case.weight, case.bias)
    assert_rounded_last(y, case.affine, choice, backend)
    columns = np.repeat(values[:, None], 19, axis=1)
    y = nd.layer_norm(columns, case.weight, case.bias, axis=0)
    assert_rounded_last(y[:, 17].copy(), case.affine, choice, backend)
    given = [None if v is None else np.full(3, v[0]) for v in (case.weight, case.bias)]
    for layout in ("columns", "images"):
        x, axis, index = as_channel(values, layout)
        y, _ = nd.batch_norm_forward(x, *given, channel_axis=axis)
        assert_rounded_last(y[index].ravel(), case.scalar, choice, backend)


# Gradients that are easily lost -------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((67, 37), 1), ((7, 37, 29), 1), ((611, 5), 1),
                                             ((7, 5, 211), 1), ((7, 29, 37), -1)])  # fmt: skip
def test_frozen_gradients_are_products(shape, axis, dtype, backend):
    """grad_output * inv_std * weight: neither x nor a neighbour's NaN has a part in it."""
    channels = shape[axis]
    x, grad = normal(shape, dtype, "x"), normal(shape, dtype, "grad")
    weight = normal((channels,), dtype, "weight", offset=3.0)
    inv_std = normal((channels,), np.float64, "inv_std") ** 2 + 0.5
    stats = nd.BatchStats(np.zeros(channels), inv_std**-2, inv_std, 0)
    x_rows, grad_rows = (np.moveaxis(a, axis, 0) for a in (x, grad))
    clean = grad_rows.copy()
    middle = (shape[0] // 2,) + (0,) * (len(shape) - 2)
    grad_rows[0][middle] = np.nan
    x_rows[1][middle] = np.inf
    x_rows[-1] = np.nan
    got = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis, frozen=True)
    found = np.moveaxis(got.x, axis, 0)
    for c in (0, 1, channels // 2, channels - 1):
        exact = exact_gradient(
            clean[c].ravel(), np.zeros(clean[c].size), 0.0, inv_std[c], weight[c : c + 1],
            frozen=True,
        )  # fmt: skip
        lost = np.isnan(grad_rows[c]).ravel()
        assert (np.isnan(found[c]).ravel() == lost).all(), c
        errors = error_in_roundoffs(found[c].ravel(), exact)[~lost]
        assert_within(errors, limits(dtype).gradient, f"channel {c}")
    assert np.isfinite(got.bias).tolist() == [False] + [True] * (channels - 1)
    assert np.isfinite(got.weight).tolist() == [False] * 2 + [True] * (channels - 3) + [False]


# Of x, grad_output and weight: where a product of two leaves the range of float32 and the gradient
# does not. A weight of 1 stands for none.
FAR_SCALES = {
    "products below every float32": (1e-8, 1e-13, 1e-30),
    "products that float32 holds in part": (1e-8, 1e-17, 1e-22),
    "gradients that float32 holds in part": (1e-8, 1e-42, 1.0),
    "products beyond every float32": (1e8, 1e11, 1e33),
    "sums beyond every float32": (1e8, 5e37, 1.0),
}


@pytest.mark.parametrize("dtype", [d for d in DTYPES if float(finfo(d).max) > 1e38])
def test_products_that_are_small_where_no_factor_is(dtype, backend):
    """The one large weight stands where the gradient is 0."""
    x = (normal((5, 67), np.float64, "x") * 1e-8).astype(dtype)
    grad = (normal((5, 67), np.float64, "grad") * 1e-13).astype(dtype)
    weight = (normal((67,), np.float64, "weight") * 1e-30).astype(dtype)
    grad[:, 3], weight[3] = 0.0, 1.0
    grad[:, 7] = 1.0
    weight[7] = 0.0
    _, stats = nd.layer_norm_forward(x, eps=0.0)
    found = nd.layer_norm_backward(grad, x, stats, weight).x
    for row in range(5):
        key = grad[row], x[row], float(stats.mean[row]), float(stats.inv_std[row])
        errors = error_in_roundoffs(found[row].copy(), exact_gradient(*key, weight))
        assert_within(errors, limits(dtype).gradient, f"row {row}")


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("scales", FAR_SCALES)
@pytest.mark.parametrize("dtype", [d for d in DTYPES if float(finfo(d).max) > 1e38])
def test_gradients_whose_parts_are_far_out(dtype, scales, rows, backend):
    """Rows, columns, channels: single precision must not be chosen by one of the factors alone."""
    x, grad, weight = (
        (normal((rows, 67), np.float64, name) * scale).astype(dtype)
        for name, scale in zip(("x", "grad", "weight"), FAR_SCALES[scales], strict=True)
    )
    weight = None if FAR_SCALES[scales][2] == 1.0 else weight[0]
    one = None if weight is None else np.full(rows, weight[0])
    _, stats = nd.layer_norm_forward(x, eps=0.0)
    channels = nd.BatchStats(stats.mean, stats.inv_std**-2, stats.inv_std, 67)
    x_columns, grad_columns = np.ascontiguousarray(x.T), np.ascontiguousarray(grad.T)
    found = {
        "rows": nd.layer_norm_backward(grad, x, stats, weight).x,
        "columns": nd.layer_norm_backward(grad_columns, x_columns, stats, weight, axis=0).x.T,
        "channels": nd.batch_norm_backward(grad_columns, x_columns, channels, one).x.T,
        "images": nd.batch_norm_backward(grad[None], x[None], channels, one).x[0],
    }
    for row in range(rows):
        key = grad[row], x[row], float(stats.mean[row]), float(stats.inv_std[row])
        for name, grad_x in found.items():
            scalar = weight is not None and name in ("channels", "images")
            exact = exact_gradient(*key, weight[:1] if scalar else weight)
            errors = error_in_roundoffs(grad_x[row].copy(), exact)
            assert_within(errors, limits(dtype).gradient, f"{name}, row {row}")


MANY_ROWS = [
    ("layer_norm", (600_000, 3), -1), ("layer_norm", (600_000, 3), 0),
    ("layer_norm", (300, 33_000), -1), ("layer_norm", (3, 600_000), -1),
    ("batch_norm", (600_000, 3), 1), ("batch_norm", (300, 3, 2000), 1),
    ("batch_norm", (2, 3, 300_000), 1), ("batch_norm", (300, 33_000), 1),
]  # fmt: skip


def error_of_all(values: np.ndarray, exact: Exact) -> np.ndarray:
    """Of many results, each of which should be the same: the errors of their extremes."""
    ends = np.array([values.min(), values.max()])
    return error_in_roundoffs(ends, Exact(*(np.repeat(part, 2) for part in exact)))


@pytest.mark.parametrize(("operation", "shape", "axis"), MANY_ROWS)
def test_equal_terms_of_long_sums(operation, shape, axis, dtype, backend):
    """Equal terms round alike at every step, so that errors which are dropped add up."""
    if backend == "cuda-emulated":  # where the whole sums take a minute each
        shape = tuple(size // 50 if size > 2000 else size for size in shape)
    x, grad = np.full(shape, 0.3, dtype), np.full(shape, 0.1, dtype)
    size = shape[axis]
    terms = x.size // size
    weight = np.ones(size, dtype)
    if operation == "layer_norm":
        stats = nd.NormStats(np.zeros(terms), np.ones(terms))
        got = nd.layer_norm_backward(grad, x, stats, weight, axis=axis)
    else:
        ones = np.ones(size)
        stats = nd.BatchStats(np.zeros(size), ones, ones, terms)
        got = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
    one_grad, one_x, zero, count = grad.ravel()[:1], x.ravel()[:1], np.zeros(1), np.full(1, terms)
    limit = limits(dtype)
    exact = exact_gradient(one_grad, one_x, 0.0, 1.0)  # the mean of equal terms is one of them
    assert_within(error_of_all(got.x, exact), limit.gradient, "x")
    exact = exact_weight_gradient(one_grad, one_x, zero, count.astype(np.float64))
    assert_within(error_of_all(got.weight, exact), limit.parameter_gradient, "weight")
    exact = exact_dot(one_grad, count)
    assert_within(error_of_all(got.bias, exact), limit.parameter_gradient, "bias")
