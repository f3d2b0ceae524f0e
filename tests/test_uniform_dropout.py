"""Uniform dropout: every bit against the definition, its range and its moments."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import normal
from comparing import assert_same_bits, assert_within
from normdrop import reference
from tolerances import KEEP_RATE_DEVIATIONS, UNIFORM_UNITS

pytestmark = pytest.mark.usefixtures("backend")

# Variance at inference over variance in training, of inputs with mean 0.
KNOWN_RATIOS = [(0.1, 300 / 301), (0.2, 0.9868421), (0.3, 0.9708738), (0.5, 0.9230769), (1.0, 0.75)]


@pytest.mark.parametrize("beta", [0.0, 1e-30, 0.1, 1 / 3, 1.0])
def test_output_is_the_definition_bit_by_bit(beta, dtype, unchanged):
    for shape in ((1,), (3,), (129,), (7, 11, 13), (1021,)):
        x = normal(shape, dtype, "x")
        unchanged(x)
        y, mask = nd.uniform_dropout_forward(x, beta, rng=(2**40, 7))
        assert_same_bits(y, reference.uniform_dropout(x, beta, rng=(2**40, 7)))
        assert_same_bits(nd.uniform_dropout(x, beta, rng=(2**40, 7)), y)
        assert_same_bits(nd.uniform_dropout_backward(x, mask), y)


def test_every_length_around_the_vector_widths(dtype):
    whole = normal((1100,), dtype, "x")
    expected = reference.uniform_dropout(whole, 0.3, rng=(5, 6))
    for count in [*range(1, 70), 255, 256, 257, 1023, 1025]:
        assert_same_bits(nd.uniform_dropout(whole[:count], 0.3, rng=(5, 6)), expected[:count])


def test_large_arrays_whatever_the_threads(threads):
    x = normal((3_200_003,), np.float32, "x")  # written past the caches
    expected = reference.uniform_dropout(x, 0.25, rng=(5, 6))
    for count in (1, 2, 3):
        threads(count)
        assert_same_bits(nd.uniform_dropout(x, 0.25, rng=(5, 6)), expected)


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_factors_are_those_of_the_formula(real):
    """1 + beta * (2 * (word + 1/2) / 2**32 - 1), in exact arithmetic."""
    count, beta = 2003, 0.75
    y = nd.uniform_dropout(np.ones(count, real), beta, rng=(5, 6))
    words = reference.words_by_index(5, 6, 0, count).tolist()
    exact = [1 + Fraction(beta) * (2 * (word + Fraction(1, 2)) / 2**32 - 1) for word in words]
    off = [abs(Fraction(float(got)) - want) for got, want in zip(y, exact, strict=True)]
    assert_within(float(max(off)) / finfo(real).eps, UNIFORM_UNITS)


def test_range_and_moments():
    count, beta = 1_000_003, 0.3
    factors = nd.uniform_dropout(np.ones(count), beta, rng=(1, 2))
    assert 1 - beta <= factors.min() < 1 - beta + 1e-5 < 1 + beta - 1e-5 < factors.max() <= 1 + beta
    deviation = beta / np.sqrt(3)
    assert abs(factors.mean() - 1) < KEEP_RATE_DEVIATIONS * deviation / np.sqrt(count)
    # Of r**2 / beta**2 the variance is 1/5 - 1/9.
    spread = KEEP_RATE_DEVIATIONS * beta**2 * np.sqrt((1 / 5 - 1 / 9) / count)
    assert abs(factors.var() - deviation**2) < spread


@pytest.mark.parametrize(("beta", "ratio"), KNOWN_RATIOS)
def test_variance_hardly_grows(beta, ratio):
    count = 400_000
    x = np.random.default_rng(7).standard_normal(count)
    y = nd.uniform_dropout(x, beta, rng=(1, 2))
    spread = KEEP_RATE_DEVIATIONS * np.sqrt(np.var(y * y * ratio - x * x) / count)
    assert abs(np.mean(y * y) * ratio - np.mean(x * x)) < spread


def test_neighbours_are_independent():
    r = nd.uniform_dropout(np.ones(65536), 1.0, rng=(4, 1)) - 1
    spectrum = np.fft.rfft(r)
    correlation = np.fft.irfft(spectrum * spectrum.conj()) / (np.sum(r * r) / np.sqrt(r.size))
    assert np.abs(correlation[1:]).max() < 6.0


def test_beta_0_is_an_equal_copy(dtype):
    x = normal((1003,), dtype, "x")
    x[:4] = np.nan, np.inf, -0.0, -np.inf
    y, mask = nd.uniform_dropout_forward(x, 0.0, rng=3)
    assert_same_bits(y, x)
    assert not np.shares_memory(x, y)
    assert_same_bits(nd.uniform_dropout_backward(x, mask), x)


def test_a_mask_tells_its_factors():
    mask = nd.uniform_dropout_forward(np.ones((5, 7)), 0.3, rng=3, shared_axes=1)[1]
    assert_same_bits(mask.factor, nd.uniform_dropout(np.ones((5, 7)), 0.3, rng=3, shared_axes=1))
    assert mask.factor.dtype == np.float64
    huge = nd.UniformDropoutMask(1, 2, 0.1, (2**62,))
    with pytest.raises(MemoryError, match="UniformDropoutMask: factor needs"):
        _ = huge.factor


def test_another_mask_is_refused():
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="mask must be a UniformDropoutMask, got DropoutMask"):
        nd.uniform_dropout_backward(x, nd.DropoutMask(1, 2, 0.5, (3,)))


def test_a_factor_of_another_word_is_noticed():
    x = normal((1003,), np.float32, "x")
    y = nd.uniform_dropout(x, 0.3, rng=3)
    for other in ({"rng": 4}, {"rng": (3, 1)}):
        with pytest.raises(AssertionError):
            assert_same_bits(y, reference.uniform_dropout(x, 0.3, **other))
    with pytest.raises(AssertionError):
        assert_same_bits(np.roll(y, 1), reference.uniform_dropout(x, 0.3, rng=3))
