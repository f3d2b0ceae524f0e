"""The oracles themselves, against a slow and obvious computation with 120 decimal digits."""

from __future__ import annotations

from decimal import Decimal, getcontext, localcontext

import numpy as np
import pytest

from cases import normal
from oracles import (
    Exact,
    error_in_roundoffs,
    error_in_units,
    exact_affine,
    exact_dot,
    exact_gradient,
    exact_normalise,
    exact_weight_gradient,
    long_normalise,
    unit_in_last_place,
)
from oracles_in_fractions import (
    exact_apply,
    exact_backward_apply,
    exact_merged,
    exact_norm,
    exact_weight_norm,
    exact_weight_norm_gradient,
)
from tolerances import ORACLE_RELATIVE, SMALLEST_DOUBLE


@pytest.fixture(autouse=True)
def many_digits():
    with localcontext() as context:
        context.prec = 1400  # enough that sums of 1e300 and 1e-310 are exact
        yield


def decimals(values):
    return [Decimal(value) for value in np.asarray(values, np.float64).ravel().tolist()]


def assert_equal(exact: Exact, expected: list[Decimal]) -> None:
    for high, low, value in zip(exact.high.tolist(), exact.low.tolist(), expected, strict=True):
        error = abs(Decimal(high) + Decimal(low) - value)
        assert error <= abs(value) * Decimal(ORACLE_RELATIVE) + Decimal(SMALLEST_DOUBLE)


ROWS = [(1.0, 0.0), (1.0, 1e6), (1e37, 0.0), (1e-310, 0.0), (1e300, 0.0), (1e-3, -7.0)]


def normalised(row, weight, bias, eps):
    x = decimals(row)
    mean = sum(x) / len(x)
    var = sum((value - mean) ** 2 for value in x) / len(x)
    inv_std = 1 / (var + Decimal(eps)).sqrt()
    parameters = zip(x, decimals(weight), decimals(bias), strict=True)
    return [(value - mean) * inv_std * w + b for value, w, b in parameters], mean, var, inv_std


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize(("spread", "offset"), ROWS)
def test_exact_normalise_agrees_with_decimals(spread, offset, eps):
    getcontext().prec = 1400
    row = normal((7,), np.float64, "row") * spread + offset
    weight, bias = normal((7,), np.float64, "weight"), normal((7,), np.float64, "bias")
    exact, statistics = exact_normalise(row, weight, bias, eps=eps)
    expected, mean, var, inv_std = normalised(row, weight, bias, eps)
    assert_equal(exact, expected)
    assert statistics == (float(mean), float(var), float(inv_std))
    if 1e-100 < spread < 1e100:
        long, long_statistics = long_normalise(row, weight, bias, eps=eps)
        assert error_in_units(exact.high, long).max() <= 0.5
        assert long_statistics == statistics


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize(("spread", "offset"), ROWS)
def test_without_a_mean_they_are_those_of_rms_norm(spread, offset, eps):
    row = normal((7,), np.float64, "row") * spread + offset
    weight, bias = normal((7,), np.float64, "weight"), normal((7,), np.float64, "bias")
    exact, statistics = exact_normalise(row, weight, bias, eps=eps, centred=False)
    x = decimals(row)
    square = sum(value**2 for value in x) / 7
    inv_std = 1 / (square + Decimal(eps)).sqrt()
    parameters = zip(x, decimals(weight), decimals(bias), strict=True)
    assert_equal(exact, [value * inv_std * w + b for value, w, b in parameters])
    assert statistics == (0.0, float(square), float(inv_std))


def test_exact_gradient_of_rms_norm_agrees_with_decimals():
    row, grad, weight = (normal((7,), np.float64, name) for name in ("row", "grad", "weight"))
    inv_std = 0.9
    exact = exact_gradient(grad, row, 0.0, inv_std, weight, centred=False)
    root = Decimal(inv_std)
    g = [a * b for a, b in zip(decimals(grad), decimals(weight), strict=True)]
    x_hat = [x * root for x in decimals(row)]
    product = sum(a * b for a, b in zip(g, x_hat, strict=True)) / 7
    assert_equal(exact, [(a - b * product) * root for a, b in zip(g, x_hat, strict=True)])


@pytest.mark.parametrize("scale", [1.0, 1e-310, 1e300])
def test_exact_weight_norm_agrees_with_decimals(scale):
    row, g = normal((7,), np.float64, "row") * scale, -1.75
    length = sum(value**2 for value in decimals(row)).sqrt()
    assert_equal(exact_weight_norm(row, g), [v / length * Decimal(g) for v in decimals(row)])
    assert exact_norm(row) == float(length)


def test_exact_gradient_of_weight_norm_agrees_with_decimals():
    row, grad = normal((7,), np.float64, "row"), normal((7,), np.float64, "grad")
    g, norm = -1.75, 0.75  # as passed, which need not be that of the row
    of_v, of_g = exact_weight_norm_gradient(grad, row, g, norm)
    unit = [v / Decimal(norm) for v in decimals(row)]
    along = sum(a * b for a, b in zip(decimals(grad), unit, strict=True))
    factor = Decimal(g) / Decimal(norm)
    assert_equal(of_g, [along])
    pairs = zip(decimals(grad), unit, strict=True)
    assert_equal(of_v, [factor * (a - b * along) for a, b in pairs])


def test_exact_halves_agree_with_decimals():
    row, grad = normal((7,), np.float64, "row"), normal((7,), np.float32, "grad")
    mean, inv_std, weight, bias, sums = 0.125, 0.9, -1.5, 0.25, (0.3, -0.7, 11)
    m, r, w, b = map(Decimal, (mean, inv_std, weight, bias))
    applied = exact_apply(row, mean, inv_std, weight, bias)
    assert_equal(applied, [(x - m) * r * w + b for x in decimals(row)])
    exact = exact_backward_apply(grad, row, (mean, inv_std), sums, weight)
    of_grad, of_product = (Decimal(value) / 11 for value in sums[:2])
    pairs = zip(decimals(grad), decimals(row), strict=True)
    assert_equal(exact, [r * w * (g - of_grad - (x - m) * r * of_product) for g, x in pairs])


def test_exact_merged_agrees_with_the_whole():
    """Of parts whose own statistics are exact."""
    x = np.array([1.0, 5.0, 3.0, -7.0, 8.0, 2.0, 2.0])
    parts = [(float(p.mean()), float(p.var()), p.size) for p in (x[:2], x[2:3], x[3:7])]
    _, statistics = exact_normalise(x, eps=0.5)
    assert np.allclose(exact_merged(parts, 0.5), statistics, rtol=1e-15)
    assert exact_merged([*parts, (9.0, 9.0, 0)], 0.5) == exact_merged(parts, 0.5)


def test_exact_affine_agrees_with_decimals():
    row = normal((7,), np.float64, "row")
    mean, var, weight, bias, eps = 0.3, 2.5, 1.5, -0.25, 1e-5
    exact = exact_affine(row, mean, var, np.array(weight), np.array(bias), eps=eps)
    root = (Decimal(var) + Decimal(eps)).sqrt()
    expected = [(x - Decimal(mean)) / root * Decimal(weight) + Decimal(bias) for x in decimals(row)]
    assert_equal(exact, expected)


@pytest.mark.parametrize("frozen", [False, True])
def test_exact_gradient_agrees_with_decimals(frozen):
    row, grad, weight = (normal((7,), np.float64, name) for name in ("row", "grad", "weight"))
    mean, inv_std = 0.125, 0.9
    exact = exact_gradient(grad, row, mean, inv_std, weight, frozen=frozen)
    root = Decimal(inv_std)
    g = [a * b for a, b in zip(decimals(grad), decimals(weight), strict=True)]
    x_hat = [(x - Decimal(mean)) * root for x in decimals(row)]
    mean_g = 0 if frozen else sum(g) / 7
    mean_product = 0 if frozen else sum(a * b for a, b in zip(g, x_hat, strict=True)) / 7
    expected = [(a - mean_g - b * mean_product) * root for a, b in zip(g, x_hat, strict=True)]
    assert_equal(exact, expected)


def test_exact_sums_agree_with_decimals():
    left, right = normal((7,), np.float64, "left"), normal((7,), np.float32, "right")
    products = [a * b for a, b in zip(decimals(left), decimals(right), strict=True)]
    dot = exact_dot(left, right)
    assert_equal(dot, [sum(products)])
    assert dot.scale[0] == float(sum(map(abs, products)))
    mean, inv_std = normal((7,), np.float64, "mean"), np.full(7, 0.7)
    weight = exact_weight_gradient(left, right, mean, inv_std)
    terms = zip(*map(decimals, (left, right, mean, inv_std)), strict=True)
    assert_equal(weight, [sum(g * (x - m) * i for g, x, m, i in terms)])


def test_units_count_steps_between_neighbouring_numbers():
    for dtype in (np.float32, np.float64):
        value = np.array([1.0, 1.5, 1e-30, -7.0], dtype)
        exact = Exact(value.astype(np.float64), np.zeros(4), np.abs(value).astype(np.float64))
        up = np.nextafter(value, np.array(np.inf, dtype))
        assert error_in_units(value, exact).tolist() == [0.0] * 4
        assert error_in_units(up, exact).tolist() == [1.0] * 4
        assert error_in_roundoffs(up, exact)[0] == 2.0
        assert np.isinf(error_in_units(np.full(4, np.nan, dtype), exact)).all()
    smallest = np.finfo(np.float32).smallest_subnormal
    assert unit_in_last_place(np.array(0.0), np.float32) == smallest
