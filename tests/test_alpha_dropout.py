"""Alpha dropout: its constants, its moments, and every bit against the definition."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from normdrop import reference
from tolerances import HAND_KNOWN_RELATIVE, KEEP_RATE_DEVIATIONS

pytestmark = pytest.mark.usefixtures("backend")

PROBABILITIES = [0.0, 1e-9, 0.05, 0.1, 0.5, 0.9, 0.999, 1.0]

# p, a, b to ten digits.
KNOWN = [
    (0.05, 0.9548444760, 0.0839355722),
    (0.1, 0.9212845161, 0.1619709701),
    (0.2, 0.8789035834, 0.3090399621),
    (0.5, 0.8864048947, 0.7791939305),
]


def exact_constants(p: float) -> list[mpmath.mpf]:
    """a, b and what a dropped element becomes, from the closed forms of SELU's constants."""
    with mpmath.workdps(60):
        e = mpmath.e
        tail = mpmath.erfc(1 / mpmath.sqrt(2))
        alpha = -mpmath.sqrt(2 / mpmath.pi) / (tail * mpmath.sqrt(e) - 1)
        inside = (
            2 * mpmath.erfc(mpmath.sqrt(2)) * e**2
            + mpmath.pi * tail**2 * e
            - 2 * (2 + mpmath.pi) * tail * mpmath.sqrt(e)
            + mpmath.pi
            + 2
        )
        scale = (1 - tail * mpmath.sqrt(e)) * mpmath.sqrt(2 * mpmath.pi) / mpmath.sqrt(inside)
        q = mpmath.mpf(reference.keep_threshold(p)) / 2**32
        lowest = -alpha * scale
        a = 1 / mpmath.sqrt(q + lowest**2 * q * (1 - q))
        b = -a * (1 - q) * lowest
        return [a, b, a * lowest + b]


@pytest.mark.parametrize("p", [1e-9, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.9, 0.999, 1 - 2.0**-30])
def test_constants_are_the_nearest_numbers(p):
    """Rounded once from the exact ones, in both precisions."""
    exact = exact_constants(p)
    for real in (np.float32, np.float64):
        constants = reference.alpha_dropout_constants(p, real)
        for got, number in zip(constants, exact, strict=True):
            with mpmath.workdps(60):
                off = abs(mpmath.mpf(float(got)) - number)
                for other in (np.nextafter(got, real(-9e9)), np.nextafter(got, real(9e9))):
                    assert off < abs(mpmath.mpf(float(other)) - number)
    mask = nd.AlphaDropoutMask(1, 2, p, (3,))
    assert (mask.scale, mask.shift, mask.dropped) == constants


def test_constants_in_single_precision_are_not_those_in_double_rounded_again():
    """Where both lie next to the middle between two float32, the wrong one would be taken."""
    from normdrop.functional.alpha_dropout import alpha_noise

    for threshold in range(2**31, 2**31 + 400):
        noise = alpha_noise(threshold)
        constants = reference.alpha_dropout_constants(1 - threshold / 2**32, np.float32)
        assert noise.single == tuple(map(float, constants))


@pytest.mark.parametrize(("p", "a", "b"), KNOWN)
def test_known_constants(p, a, b):
    mask = nd.AlphaDropoutMask(1, 2, p, (3,))
    assert mask.scale == pytest.approx(a, rel=HAND_KNOWN_RELATIVE)
    assert mask.shift == pytest.approx(b, rel=HAND_KNOWN_RELATIVE)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_output_is_the_definition_bit_by_bit(p, dtype, unchanged):
    for shape in ((1,), (3,), (129,), (7, 11, 13), (1021,)):
        x = normal(shape, dtype, "x")
        unchanged(x)
        y, mask = nd.alpha_dropout_forward(x, p, rng=(2**40, 7))
        assert_same_bits(y, reference.alpha_dropout(x, p, rng=(2**40, 7)))
        assert_same_bits(nd.alpha_dropout(x, p, rng=(2**40, 7)), y)
        grad = normal(shape, dtype, "grad")
        assert_same_bits(
            nd.alpha_dropout_backward(grad, mask), reference.alpha_dropout_backward(grad, mask)
        )


def test_large_arrays_whatever_the_threads(threads):
    x = normal((3_200_003,), np.float32, "x")  # written past the caches
    expected = reference.alpha_dropout(x, 0.25, rng=(5, 6))
    for count in (1, 2, 3):
        threads(count)
        assert_same_bits(nd.alpha_dropout(x, 0.25, rng=(5, 6)), expected)


def test_elements_are_kept_as_by_dropout():
    x = normal((1003,), np.float32, "x")
    _, mask = nd.alpha_dropout_forward(x, 0.3, rng=(8, 9))
    assert_same_bits(mask.keep, nd.DropoutMask(8, 9, 0.3, (1003,)).keep)
    assert_same_bits(mask.packed(), nd.DropoutMask(8, 9, 0.3, (1003,)).packed())


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_mean_0_and_variance_1_stay(p):
    """The property that the constants are made for."""
    count = 400_000
    x = np.random.default_rng(7).standard_normal(count)
    x = (x - x.mean()) / x.std()
    y = nd.alpha_dropout(x, p, rng=(1, 2))
    assert abs(y.mean()) < KEEP_RATE_DEVIATIONS / np.sqrt(count)
    fourth = np.mean((y - y.mean()) ** 4)
    assert abs(y.var() - 1) < KEEP_RATE_DEVIATIONS * np.sqrt(fourth / count)


def test_p_0_is_an_equal_copy_and_p_1_is_0(dtype):
    x = normal((1003,), dtype, "x")
    x[:4] = np.nan, np.inf, -0.0, -np.inf
    y, mask = nd.alpha_dropout_forward(x, 0.0, rng=3)
    assert_same_bits(y, x)
    assert not np.shares_memory(x, y) and mask.scale == 1.0
    assert_same_bits(nd.alpha_dropout_backward(x, mask), x)
    y, mask = nd.alpha_dropout_forward(x, 1.0, rng=3)
    assert_same_bits(y, np.zeros_like(x))
    assert (mask.scale, mask.shift, mask.dropped) == (0, 0, 0)
    assert_same_bits(nd.alpha_dropout_backward(x, mask), np.zeros_like(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dropped_element_is_one_number_whatever_was_there(bad, dtype):
    y, mask = nd.alpha_dropout_forward(np.full(1003, bad, dtype), 0.5, rng=3)
    dropped = reference.alpha_dropout_constants(0.5, dtype)[2].astype(dtype)
    assert_same_bits(y[~mask.keep], np.full((~mask.keep).sum(), dropped))
    assert not np.isfinite(y[mask.keep]).any()


def test_overflow_happens_where_the_exact_result_does(dtype):
    largest = finfo(dtype).max
    for p in (0.1, 0.5):  # a is below 1: the largest number stays finite
        assert np.isfinite(nd.alpha_dropout(np.full(103, largest, dtype), p, rng=3)).all()
    y, mask = nd.alpha_dropout_forward(np.full(1003, largest, dtype), 0.99, rng=3)
    assert mask.scale > 1 and np.isinf(y[mask.keep]).all()


def test_the_gradient_is_that_of_the_function():
    """y is linear in x: the difference quotient is exact but for rounding."""
    x = normal((401,), np.float64, "x")
    y, mask = nd.alpha_dropout_forward(x, 0.3, rng=3)
    step = nd.alpha_dropout(x + 1, 0.3, rng=3) - y
    np.testing.assert_allclose(nd.alpha_dropout_backward(np.ones(401), mask), step, atol=1e-14)


def test_another_mask_is_refused():
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="mask must be an AlphaDropoutMask, got DropoutMask"):
        nd.alpha_dropout_backward(x, nd.DropoutMask(1, 2, 0.5, (3,)))
    with pytest.raises(TypeError, match="mask must be a DropoutMask, got AlphaDropoutMask"):
        nd.dropout_backward(x, nd.AlphaDropoutMask(1, 2, 0.5, (3,)))


def test_the_shift_of_dropped_elements_is_noticed():
    """Ordinary dropout's 0 in the place of alpha', or p for q, must not pass (H4)."""
    x = normal((1003,), np.float32, "x")
    y = nd.alpha_dropout(x, 0.3, rng=3)
    for other in (reference.dropout(x, 0.3, rng=3), reference.alpha_dropout(x, 0.7, rng=3)):
        with pytest.raises(AssertionError):
            assert_same_bits(y, other)


def test_selu_constants_of_the_definition():
    from normdrop.functional.alpha_dropout import LOWEST_OF_SELU
    from normdrop.reference.alpha_dropout import SELU_ALPHA, SELU_SCALE

    assert float(SELU_SCALE) == 1.0507009873554804934
    assert float(SELU_ALPHA) == 1.6732632423543772848
    assert abs(LOWEST_OF_SELU + SELU_SCALE * SELU_ALPHA) < 1e-26
