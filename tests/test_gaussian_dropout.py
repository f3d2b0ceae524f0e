"""Gaussian dropout: normals against 40 digits, their distribution, the same bits anywhere."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import normdrop as nd
from cases import DTYPES, normal
from comparing import assert_same_bits, assert_within
from noise_cases import FAMILY, units_at
from normdrop import reference
from tolerances import GAUSSIAN, KEEP_RATE_DEVIATIONS, PERTURBATION

pytestmark = pytest.mark.usefixtures("backend")

COUNT = 2002


def exact_normals(seed: int, call: int, count: int) -> list[mpmath.mpf]:
    words = reference.words_by_index(seed, call, 0, count).tolist()
    found = []
    with mpmath.workdps(40):
        for first, second in zip(words[::2], words[1::2], strict=True):
            u, v = ((word + mpmath.mpf(0.5)) / 2**32 for word in (first, second))
            radius = mpmath.sqrt(-2 * mpmath.log(u))
            found += [radius * mpmath.cospi(2 * v), radius * mpmath.sinpi(2 * v)]
    return found


EXACT = exact_normals(5, 6, COUNT)


def units_off(y: np.ndarray, x: np.ndarray, p: float) -> np.ndarray:
    """Units at the scale of the larger of x and what is added to it."""
    with mpmath.workdps(40):
        deviation = mpmath.sqrt(mpmath.mpf(p) / (1 - mpmath.mpf(p)))
        added = [deviation * z * mpmath.mpf(float(of)) for z, of in zip(EXACT, x, strict=True)]
        exact = [mpmath.mpf(float(of)) + part for of, part in zip(x, added, strict=True)]
        off = [float(abs(mpmath.mpf(float(got)) - of)) for got, of in zip(y, exact, strict=True)]
    parts = np.array([[float(abs(v)) for v in values] for values in (exact, added, x)])
    return np.array(off) / units_at(parts.max(axis=0), y.dtype)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8, 0.999])
def test_exact_answers(p, dtype, unchanged):
    x = normal((COUNT,), dtype, "x")
    unchanged(x)
    y, mask = nd.gaussian_dropout_forward(x, p, rng=(5, 6))
    limit = GAUSSIAN[np.dtype(dtype).name].exact
    assert_within(units_off(y, x, p), limit)
    assert_same_bits(nd.gaussian_dropout(x, p, rng=(5, 6)), y)
    assert_same_bits(nd.gaussian_dropout_backward(x, mask), y)
    wrong = y.astype(np.float64)
    wrong[777] *= 1 + PERTURBATION * limit * 2.0 ** -{2: 7, 4: 22, 8: 51}[np.dtype(dtype).itemsize]
    with pytest.raises(AssertionError):
        assert_within(units_off(wrong.astype(dtype), x, p), limit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_backend_gives_the_same_bits(backend, dtype):
    """No sum is fused with a product, and no function of the machine's library is called."""
    x = normal((3, 1021), dtype, "x")
    got = (
        nd.gaussian_dropout(x, 0.3, rng=(5, 6)),
        nd.gaussian_dropout(x, 0.3, rng=(5, 6), shared_axes=1),
    )
    with nd.use_backend("baseline"):
        expected = (
            nd.gaussian_dropout(x, 0.3, rng=(5, 6)),
            nd.gaussian_dropout(x, 0.3, rng=(5, 6), shared_axes=1),
        )
    assert_same_bits(got, expected, backend)


def test_every_length_around_the_vector_widths(dtype):
    whole = normal((1100,), dtype, "x")
    expected = nd.gaussian_dropout(whole, 0.3, rng=(5, 6))
    for count in [*range(1, 70), 255, 256, 257, 1023, 1025]:
        y = nd.gaussian_dropout(whole[:count], 0.3, rng=(5, 6))
        assert_same_bits(y, expected[:count], f"{count}")
        FAMILY["gaussian_dropout"].check_forward(
            whole[:count], nd.gaussian_dropout(whole[:count], 0.4, rng=(5, 6)), (5, 6), ()
        )


def test_large_arrays_whatever_the_threads(threads):
    x = normal((1_000_003,), np.float32, "x")
    threads(1)
    expected = nd.gaussian_dropout(x, 0.25, rng=(5, 6))
    for count in (2, 3, 7):
        threads(count)
        assert_same_bits(nd.gaussian_dropout(x, 0.25, rng=(5, 6)), expected)
    FAMILY["gaussian_dropout"].check_forward(x, nd.gaussian_dropout(x, 0.4, rng=(5, 6)), (5, 6), ())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_moments_of_the_factors(p):
    """Mean 1, variance p / (1 - p), no skew, and a normal's fourth moment of 3."""
    count = 1_000_002
    mask = nd.GaussianDropoutMask(1, 2, p, (count,))
    z = (mask.factor - 1) / mask.deviation
    assert mask.deviation == pytest.approx(np.sqrt(p / (1 - p)), rel=1e-15)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        spread = KEEP_RATE_DEVIATIONS * np.sqrt(variance / count)
        assert abs(np.mean(z**power) - moment) < spread, power


def test_the_distribution_is_normal():
    """Kolmogorov's distance to the normal distribution."""
    count = 200_000
    z = np.sort(nd.GaussianDropoutMask(3, 4, 0.5, (count,)).factor - 1)
    below = np.array([0.5 * (1 + float(mpmath.erf(v / np.sqrt(2)))) for v in z[::200].tolist()])
    place = np.arange(0, count, 200) / count
    assert np.abs(below - place).max() < 2.5 / np.sqrt(count)


def test_neighbours_and_calls_are_independent():
    first, second = (nd.GaussianDropoutMask(4, call, 0.5, (65536,)).factor - 1 for call in (1, 2))
    for left, right in ((first, first), (first, second)):
        spectrum = np.fft.rfft(left) * np.fft.rfft(right).conj()
        correlation = np.fft.irfft(spectrum) / np.sqrt(left.size)
        if left is right:
            correlation[0] = 0.0
        assert np.abs(correlation).max() < 6.0
    # Cosine and sine of one pair share a radius, but are not correlated in sign or square.
    even, odd = first[::2], first[1::2]
    for left, right in ((even, odd), (even**2 - 1, odd**2 - 1)):
        scale = np.sqrt(np.mean(left**2) * np.mean(right**2) / left.size)
        assert abs(np.mean(left * right)) < KEEP_RATE_DEVIATIONS * scale


def test_p_0_is_an_equal_copy(dtype):
    x = normal((1003,), dtype, "x")
    x[:4] = np.nan, np.inf, -0.0, -np.inf
    y, mask = nd.gaussian_dropout_forward(x, 0.0, rng=3)
    assert_same_bits(y, x)
    assert not np.shares_memory(x, y) and mask.deviation == 0.0
    assert_same_bits(nd.gaussian_dropout_backward(x, mask), x)


def test_p_1_has_no_finite_variance():
    x = np.ones(3)
    message = "p must be below 1, where the variance is infinite, got 1.0"
    for name in ("gaussian_dropout", "gaussian_dropout_forward"):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            getattr(nd, name)(x, 1.0)
    with pytest.raises(ValueError, match=f"GaussianDropoutMask: {message}"):
        nd.GaussianDropoutMask(1, 2, 1.0, (3,))
    assert np.isfinite(nd.gaussian_dropout(x, 1 - 2.0**-53, rng=1)).all()


def test_a_mask_tells_its_factors():
    mask = nd.gaussian_dropout_forward(np.ones((5, 7)), 0.3, rng=3, shared_axes=1)[1]
    assert_same_bits(mask.factor, nd.gaussian_dropout(np.ones((5, 7)), 0.3, rng=3, shared_axes=1))
    huge = nd.GaussianDropoutMask(1, 2, 0.1, (2**62,))
    with pytest.raises(MemoryError, match="GaussianDropoutMask: factor needs"):
        _ = huge.factor


def test_another_mask_is_refused():
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="mask must be a GaussianDropoutMask, got DropoutMask"):
        nd.gaussian_dropout_backward(x, nd.DropoutMask(1, 2, 0.5, (3,)))
