"""Exact answers, against which every element is judged.

Floating-point numbers are exact rationals. ``exact_*`` compute with Python integers that share a
power-of-two scale, and the only irrational step, the square root, carries 300 bits. Each returns
an ``Exact``: the answer as an unevaluated sum high + low of two doubles (about 106 bits), and
the scale at which a unit is counted. ``long_normalise`` does the same for long rows with
double-double arithmetic.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ml_dtypes import finfo

Array = npt.NDArray[Any]
Rational = tuple[int, int]  # numerator, power of two: numerator * 2**power
ROOT_BITS = 300


class Exact(NamedTuple):
    """An exact answer as high + low, and the scale of its unit."""

    high: Array
    low: Array
    scale: Array


# Integers with a common scale ------------------------------------------------------------------


def integers(values: Array) -> tuple[list[int], int]:
    """The values as integers times one power of two: value[i] = integer[i] * 2**power."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64).ravel())
    whole = (mantissas * 2.0**53).astype(np.int64)
    exponents = np.where(whole == 0, 0, exponents - 53)
    used = exponents[whole != 0]
    power = int(used.min()) if used.size else 0
    shifts = np.where(whole == 0, 0, exponents - power)
    shifted = zip(whole.tolist(), shifts.tolist(), strict=True)
    return [number << shift for number, shift in shifted], power


def integer(value: float) -> Rational:
    """One value as an integer times a power of two."""
    numbers, power = integers(np.array([value]))
    return numbers[0], power


def add(left: Rational, right: Rational) -> Rational:
    """Exact sum."""
    power = min(left[1], right[1])
    return (left[0] << (left[1] - power)) + (right[0] << (right[1] - power)), power


def inverse_root(numerator: int, denominator: int, power: int) -> Rational:
    """1 / sqrt(numerator / denominator * 2**power), to about ``ROOT_BITS`` bits."""
    if numerator == 0:
        return 0, 0  # only ever multiplied by deviations that are 0: the constant row at eps = 0
    shift = 2 * ROOT_BITS + numerator.bit_length() - denominator.bit_length()
    shift += (shift + power) % 2
    shift = max(shift, -power % 2)
    root = math.isqrt((denominator << shift) // numerator)
    return root, -(shift + power) // 2


def split(numerator: int, denominator: int, power: int) -> tuple[float, float]:
    """numerator / denominator * 2**power as two doubles."""
    if power >= 0:
        numerator <<= power
    else:
        denominator <<= -power
    try:
        high = numerator / denominator
    except OverflowError:
        return (math.inf if numerator > 0 else -math.inf), 0.0
    top, bottom = high.as_integer_ratio()
    return high, (numerator * bottom - top * denominator) / (denominator * bottom)


def pairs(numerators: list[int], denominator: int, power: int) -> tuple[Array, Array]:
    """Many quotients over one denominator as arrays of high and low parts."""
    parts = [split(numerator, denominator, power) for numerator in numerators]
    table = np.array(parts, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


# Forward ---------------------------------------------------------------------------------------


def _parameter(parameter: Array | None, length: int, default: int) -> tuple[list[int], int]:
    if parameter is None:
        return [default] * length, 0
    return integers(np.broadcast_to(parameter, (length,)))


def _affine(
    deviations: list[int],
    power: int,
    count: int,
    inv_std: Rational,
    weight: Array | None,
    bias: Array | None,
) -> Exact:
    """deviation / count * 2**power * inv_std * weight + bias, exactly."""
    length = len(deviations)
    weights, weight_power = _parameter(weight, length, 1)
    biases, bias_power = _parameter(bias, length, 0)
    product_power = power + inv_std[1] + weight_power
    common = min(product_power, bias_power)
    lift, bias_lift = product_power - common, bias_power - common
    products = [(d * inv_std[0] * w) << lift for d, w in zip(deviations, weights, strict=True)]
    totals = [p + ((b * count) << bias_lift) for p, b in zip(products, biases, strict=True)]
    high, low = pairs(totals, count, common)
    scaled, _ = pairs(products, count, common)
    shift = np.zeros(length) if bias is None else np.abs(np.broadcast_to(bias, (length,)))
    return Exact(high, low, np.maximum(np.maximum(np.abs(high), np.abs(scaled)), shift))


class ExactStatistics(NamedTuple):
    """mean, var and inv_std of one row, correctly rounded to double."""

    mean: float
    var: float
    inv_std: float


class _Moments(NamedTuple):
    """Deviations as integers over ``share``, times 2**power, and what is worked out of them."""

    deviations: list[int]
    share: int
    power: int
    inv_std: Rational
    statistics: ExactStatistics


def _exact_moments(row: Array, eps: float, centred: bool) -> _Moments:
    """Deviations from the mean, or from 0, 1/sqrt(var + eps), and the rounded statistics."""
    numbers, power = integers(row)
    count, total = len(numbers), sum(numbers)
    share = count if centred else 1
    deviations = [count * number - total for number in numbers] if centred else numbers
    squares = sum(d * d for d in deviations)  # share**2 * n * var, times 2**(-2 * power)
    denominator = share * share * count
    eps_number, eps_power = integer(eps)
    numerator, var_power = add((squares, 2 * power), (eps_number * denominator, eps_power))
    inv_std = inverse_root(numerator, denominator, var_power)
    mean, _ = split(total, count, power)
    var, _ = split(squares, denominator, 2 * power)
    rounded = split(inv_std[0], 1, inv_std[1])[0] if numerator else math.inf
    statistics = ExactStatistics(mean if centred else 0.0, var, rounded)
    return _Moments(deviations, share, power, inv_std, statistics)


def exact_normalise(
    row: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    centred: bool = True,
) -> tuple[Exact, ExactStatistics]:
    """Normalise one row (or one channel, with scalar parameters) exactly.

    An RMS norm is not centred: its mean is 0 and its var the mean square.
    """
    deviations, share, power, inv_std, statistics = _exact_moments(row, eps, centred)
    return _affine(deviations, power, share, inv_std, weight, bias), statistics


def exact_affine(
    row: Array,
    mean: float,
    var: float,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Exact:
    """The inference form on one channel: statistics as passed."""
    numbers, power = integers(np.concatenate([np.asarray(row, np.float64).ravel(), [mean]]))
    centre = numbers.pop()
    numerator, var_power = add(integer(var), integer(eps))
    inv_std = inverse_root(numerator, 1, var_power)
    return _affine([n - centre for n in numbers], power, 1, inv_std, weight, bias)


# Backward --------------------------------------------------------------------------------------


def exact_gradient(
    grad_output: Array,
    row: Array,
    mean: float,
    inv_std: float,
    weight: Array | None = None,
    *,
    frozen: bool = False,
    centred: bool = True,
) -> Exact:
    """Gradient of one row at the statistics as passed, with the condition of each element.

    grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat)),  g = grad_output * weight

    An RMS norm, which is not centred, has no mean(g).
    """
    numbers, power = integers(np.concatenate([np.asarray(row, np.float64).ravel(), [mean]]))
    centre, count = numbers.pop(), len(numbers)
    root, root_power = integer(inv_std)
    grads, grad_power = integers(grad_output)
    weights, weight_power = _parameter(weight, count, 1)
    g = [a * b for a, b in zip(grads, weights, strict=True)]
    g_power = grad_power + weight_power
    x_hat = [(number - centre) * root for number in numbers]
    hat_power = power + root_power
    rounded_g, rounded_hat = pairs(g, 1, g_power)[0], pairs(x_hat, 1, hat_power)[0]
    scale = gradient_scale(rounded_g, rounded_hat, inv_std, frozen=frozen, centred=centred)
    if frozen:
        high, low = pairs([a * root for a in g], 1, g_power + root_power)
        return Exact(high, low, scale)
    sum_g = sum(g) if centred else 0
    sum_product = sum(a * b for a, b in zip(g, x_hat, strict=True))
    # Bring g - mean(g) to the power of x_hat * mean(g * x_hat), which has x_hat twice.
    common = min(0, 2 * hat_power)
    up, up_product = -common, 2 * hat_power - common
    terms = [
        (((count * a - sum_g) << up) - ((b * sum_product) << up_product)) * root
        for a, b in zip(g, x_hat, strict=True)
    ]
    high, low = pairs(terms, count, common + g_power + root_power)
    return Exact(high, low, scale)


def gradient_scale(
    g: Array, x_hat: Array, inv_std: float, *, frozen: bool = False, centred: bool = True
) -> Array:
    """The condition S of every element: the sum of the magnitudes that its formula adds up."""
    if frozen:
        return np.asarray(inv_std * np.abs(g))
    mean = np.abs(g).mean() if centred else 0.0
    spread = np.abs(g) + mean + np.abs(x_hat) * np.abs(g * x_hat).mean()
    return np.asarray(inv_std * spread)


def exact_dot(left: Array, right: Array) -> Exact:
    """sum(left * right) with the sum of the magnitudes as scale."""
    numbers, power = integers(left)
    others, other_power = integers(right)
    products = [a * b for a, b in zip(numbers, others, strict=True)]
    high, low = pairs([sum(products)], 1, power + other_power)
    scale, _ = pairs([sum(map(abs, products))], 1, power + other_power)
    return Exact(high, low, scale)


def exact_weight_gradient(grad_output: Array, column: Array, mean: Array, inv_std: Array) -> Exact:
    """sum over rows of grad_output * (column - mean) * inv_std, statistics one per row.

    The terms are formed exactly, one row at a time; scalars broadcast (a batch norm channel).
    """
    total: Rational = (0, 0)
    magnitude: Rational = (0, 0)
    rows = np.broadcast_arrays(grad_output, column, mean, inv_std)
    for grad, value, centre, root in zip(*(part.ravel().tolist() for part in rows), strict=True):
        number, power = add(integer(value), integer(-centre))
        for factor in (integer(grad), integer(root)):
            number, power = number * factor[0], power + factor[1]
        total = add(total, (number, power))
        magnitude = add(magnitude, (abs(number), power))
    high, low = pairs([total[0]], 1, total[1])
    return Exact(high, low, pairs([magnitude[0]], 1, magnitude[1])[0])


# Long rows, in double-double -------------------------------------------------------------------


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as rounded sum and exact error."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b as rounded product and exact error (Dekker's splitting)."""
    product = a * b
    splitter = 134217729.0  # 2**27 + 1
    a_high = a * splitter - (a * splitter - a)
    b_high = b * splitter - (b * splitter - b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def long_normalise(
    row: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> tuple[Exact, ExactStatistics]:
    """``exact_normalise`` to about 100 bits, for rows of any length and moderate range."""
    values = np.asarray(row, np.float64).ravel()
    count = float(values.size)
    mean, mean_low = _divide(*_exact_sum(values.tolist()), count)
    high, low = two_sum(values, np.array(-mean))
    high, low = two_sum(high, low - mean_low)
    square, square_low = two_product(high, high)
    squares = square.tolist() + (square_low + 2.0 * high * low).tolist()
    var, var_low = _divide(*_exact_sum(squares), count)
    numerator, power = add(add(integer(var), integer(var_low)), integer(eps))
    root, root_low = split(*_as_quotient(inverse_root(numerator, 1, power)))
    hat, hat_low = _product(high, low, np.array(root), np.array(root_low))
    if weight is not None:
        hat, hat_low = _product(hat, hat_low, np.asarray(weight, np.float64), np.array(0.0))
    shift = np.array(0.0) if bias is None else np.asarray(bias, np.float64)
    total, error = two_sum(hat, shift)
    total, error = two_sum(total, error + hat_low)
    scale = np.maximum(np.maximum(np.abs(total), np.abs(hat)), np.abs(shift))
    return Exact(total, error, scale), ExactStatistics(mean, var, root)


def _exact_sum(values: list[float]) -> tuple[float, float]:
    high = math.fsum(values)
    return high, math.fsum([*values, -high])


def _divide(high: float, low: float, count: float) -> tuple[float, float]:
    number, power = add(integer(high), integer(low))
    return split(number, int(count), power)


def _as_quotient(value: Rational) -> tuple[int, int, int]:
    return value[0], 1, value[1]


def _product(a: Array, a_low: Array, b: Array, b_low: Array) -> tuple[Array, Array]:
    product, error = two_product(a, b)
    return two_sum(product, error + (a * b_low + a_low * b))


# Judging ---------------------------------------------------------------------------------------


def unit_in_last_place(scale: Array, dtype: npt.DTypeLike) -> Array:
    """The distance between neighbouring numbers of ``dtype`` at a scale."""
    info = finfo(dtype)
    magnitude = np.clip(np.abs(np.asarray(scale, np.float64)), float(info.tiny), float(info.max))
    _, exponent = np.frexp(magnitude)
    return np.ldexp(float(info.eps), exponent - 1)


def error_in_units(got: Array, exact: Exact, dtype: npt.DTypeLike | None = None) -> Array:
    """Error of every element in units of the last place at its scale.

    An element whose exact value is beyond the dtype's range has error 0 if it is the infinity of
    the right sign. A NaN has an infinite error.
    """
    dtype = got.dtype if dtype is None else dtype
    values = got.astype(np.float64).reshape(exact.high.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs((values - exact.high) - exact.low)
        units = error / unit_in_last_place(exact.scale, dtype)
    overflows = np.abs(exact.high) > float(finfo(dtype).max)
    units = np.where(overflows & (values == np.copysign(np.inf, exact.high)), 0.0, units)
    return np.where(np.isnan(units), np.inf, units)


def is_nearest(got: Array, exact: Exact) -> Array:
    """Whether each element is as close to the exact answer as a number of its dtype can be."""
    near = exact.high.astype(got.dtype)
    infinity = np.array(np.inf, got.dtype)
    candidates = (near, np.nextafter(near, infinity), np.nextafter(near, -infinity))
    errors = [np.abs((c.astype(np.float64) - exact.high) - exact.low) for c in candidates]
    own = np.abs((got.astype(np.float64).reshape(exact.high.shape) - exact.high) - exact.low)
    return np.asarray(own <= np.minimum.reduce(errors))


def error_in_roundoffs(got: Array, exact: Exact, dtype: npt.DTypeLike | None = None) -> Array:
    """Error of every gradient in units of roundoff times its condition; see ``error_in_units``."""
    dtype = got.dtype if dtype is None else dtype
    info = finfo(dtype)
    values = got.astype(np.float64).reshape(exact.high.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs((values - exact.high) - exact.low)
        unit = np.maximum(float(info.eps) / 2 * exact.scale, float(info.smallest_subnormal))
        units = error / unit
    overflows = np.abs(exact.high) > float(info.max)
    units = np.where(overflows & (values == np.copysign(np.inf, exact.high)), 0.0, units)
    return np.where(np.isnan(units), np.inf, units)


def statistics_units(got: float, exact: float, scale: float | None = None) -> float:
    """Error of one statistic in units of the last place of double at a scale (default: its own).

    A mean is judged at the scale of the mean magnitude of what was summed: one of mixed signs
    may cancel to anything.
    """
    if got == exact:
        return 0.0
    unit = unit_in_last_place(np.array(abs(exact) if scale is None else scale), np.float64)
    return float(abs(got - exact) / unit) if math.isfinite(got) else math.inf
