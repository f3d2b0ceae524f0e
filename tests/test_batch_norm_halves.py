"""Halves of batch norm: statistics, sums and what is made of them; parts that are merged."""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from cases import BATCH_NORM_CASES, HALF_TYPES, adversarial_rows, normal, parameter
from comparing import (
    along,
    assert_same_bits,
    assert_within,
    forward_units,
    gradient_roundoffs,
    split_axes,
)
from normdrop import reference
from oracles import (
    error_in_roundoffs,
    error_in_units,
    exact_dot,
    exact_weight_gradient,
    statistics_units,
    unit_in_last_place,
)
from oracles_in_fractions import (
    exact_apply,
    exact_backward_apply,
    exact_merged,
    exact_statistics,
)
from tolerances import MERGED_UNITS, PERTURBATION, PRODUCT_SUMS, limits, parts_from_whole

pytestmark = pytest.mark.usefixtures("backend")


def case(shape, axis, dtype, offset=0.5, parameter_dtype=None):
    channels = (shape[axis],)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(channels, parameter_dtype or dtype, "weight"),
        parameter(channels, parameter_dtype or dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


def channels_of(array, axis):
    """One row for each channel."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def check_halves(x, weight, bias, grad, axis=1, eps=1e-5):
    """Every half of one call against exact answers at what it was given."""
    options = {"channel_axis": axis}
    stats = nd.batch_stats(x, eps=eps, **options)
    assert stats.count == x.size // x.shape[axis] and type(stats.count) is int
    y = nd.batch_norm_apply(x, stats, weight, bias, **options)
    sums = nd.batch_norm_gradient_sums(grad, x, stats, **options)
    assert sums.count == stats.count and type(sums.count) is int
    of_x = nd.batch_norm_backward_apply(grad, x, stats, sums, weight, **options)
    for array in (y, of_x):
        assert array.dtype == x.dtype and array.shape == x.shape
    rows = (channels_of(array, axis) for array in (x, grad, y, of_x))
    for channel, row in enumerate(zip(*rows, strict=True)):
        check_channel(channel, row, stats, sums, (weight, bias), eps)
    if stats.count > 1:
        assert_same_bits(stats, nd.batch_norm_forward(x, eps=eps, **options)[1])


def check_channel(channel, row, stats, sums, parameters, eps):
    x, grad, y, of_x = row
    limit = limits(x.dtype)
    weight, bias = (
        default if values is None else float(values[channel])
        for values, default in zip(parameters, (1.0, 0.0), strict=True)
    )
    mean, var, inv_std = (float(values[channel]) for values in stats[:3])
    exact = exact_statistics([x], eps)
    size = float(np.abs(x.astype(np.float64)).mean())
    assert_within(statistics_units(mean, exact.mean, size), limit.mean, "mean")
    assert_within(statistics_units(var, exact.var), limits(np.float64).reference, "var")
    assert_within(statistics_units(inv_std, exact.inv_std), limit.inv_std, "inv_std")
    applied = exact_apply(x, mean, inv_std, weight, bias)
    assert_within(error_in_units(y, applied), limit.forward, "y")
    for got, want in (
        (sums.grad, exact_dot(grad, np.ones(grad.size))),
        (sums.grad_x_hat, exact_weight_gradient(grad, x, mean, inv_std)),
    ):
        # Of terms in single precision where x is: the sums are then rounded as such gradients are.
        error = error_in_roundoffs(got[channel : channel + 1], want, x.dtype)
        assert_within(error, PRODUCT_SUMS[x.dtype.name], "sums")
    totals = float(sums.grad[channel]), float(sums.grad_x_hat[channel]), sums.count
    want = exact_backward_apply(grad, x, (mean, inv_std), totals, weight)
    assert_within(error_in_roundoffs(of_x, want), limit.gradient, "grad x")


# Against exact answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), BATCH_NORM_CASES)
def test_every_shape_and_axis(shape, axis, dtype, unchanged):
    arrays = case(shape, axis, dtype)
    unchanged(*arrays)
    check_halves(*arrays, axis)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("eps", [1e-12, 0.1, 1e4])
def test_weight_bias_and_eps(eps, has_weight, has_bias, dtype):
    for shape, axis in (((13, 5), 1), ((3, 5, 11), 1)):
        x, weight, bias, grad = case(shape, axis, dtype)
        weight, bias = weight if has_weight else None, bias if has_bias else None
        check_halves(x, weight, bias, grad, axis, eps)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_float32_parameters_of_half_types(dtype):
    for shape, axis in (((13, 5), 1), ((3, 5, 11), 1)):
        check_halves(*case(shape, axis, dtype, parameter_dtype=np.float32), axis)


@pytest.mark.parametrize("columns", [False, True])
def test_every_length_around_the_vector_widths(columns, dtype):
    for length in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129]:
        shape = (length, 3) if columns else (2, 3, length)
        check_halves(*case(shape, 1, dtype))


@pytest.mark.parametrize("columns", [False, True])
def test_statistics_of_rows_that_broke_others(columns, dtype):
    """Offsets, outliers and ranges, one channel beside others."""
    for row in adversarial_rows(dtype, 770):
        x = normal((770, 3), np.float64, "other").astype(dtype)
        x[:, 1] = row.values
        x = x if columns else np.ascontiguousarray(x.reshape(7, 110, 3).transpose(0, 2, 1))
        stats = nd.batch_stats(x, eps=row.eps)
        exact = exact_statistics([row.values], row.eps)
        error = statistics_units(float(stats.inv_std[1]), exact.inv_std)
        assert_within(error, limits(dtype).inv_std, row.name)
        error = statistics_units(float(stats.var[1]), exact.var)
        assert_within(error, limits(dtype).var, row.name)


# Together they are batch norm --------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((13, 5), 1), ((3, 5, 11), 1), ((3, 11, 5), -1)])
def test_halves_in_one_go_are_batch_norm(shape, axis, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    options = {"channel_axis": axis}
    y, whole = nd.batch_norm_forward(x, weight, bias, **options)
    stats = nd.batch_stats(x, **options)
    assert_same_bits(stats, whole)
    applied = nd.batch_norm_apply(x, stats, weight, bias, **options)
    fence = limits(dtype).fence_relative
    np.testing.assert_allclose(applied.astype(np.float64), y.astype(np.float64), fence, fence)
    want = nd.batch_norm_backward(grad, x, stats, weight, **options)
    sums = nd.batch_norm_gradient_sums(grad, x, stats, **options)
    got = nd.batch_norm_backward_apply(grad, x, stats, sums, weight, **options)
    np.testing.assert_allclose(got.astype(np.float64), want.x.astype(np.float64), fence, fence)
    for left, right in ((sums.grad_x_hat, want.weight), (sums.grad, want.bias)):
        np.testing.assert_allclose(left, right.astype(np.float64), fence, fence)


SPLITS = [[5], [1, 2], [1, 1, 3, 12], [8, 9], [0, 7], [16]]  # where 17 samples are cut


@pytest.mark.parametrize("cuts", SPLITS)
@pytest.mark.parametrize(("shape", "axis"), [((17, 5), 1), ((17, 5, 11), 1), ((17, 11, 5), -1)])
def test_parts_merged_are_the_whole(shape, axis, cuts, dtype):
    """Parts of any sizes, one of them empty: every result within one unit of the whole's."""
    x, weight, bias, grad = case(shape, axis, dtype)
    options = {"channel_axis": axis}
    parts, grads = np.split(x, cuts), np.split(grad, cuts)
    stats = nd.BatchStats.merged([nd.batch_stats(part, **options) for part in parts])
    y, whole = nd.batch_norm_forward(x, weight, bias, **options)
    assert stats.count == whole.count
    for name in ("mean", "var", "inv_std"):
        unit = unit_in_last_place(np.abs(getattr(whole, name)) + (name == "mean"), np.float64)
        error = np.abs(getattr(stats, name) - getattr(whole, name)) / unit
        assert_within(error, 2 * limits(dtype).var, name)
    applied = [nd.batch_norm_apply(part, stats, weight, bias, **options) for part in parts]
    plain = reference.batch_norm_forward(x, weight, **options)[0]
    units = forward_units(np.concatenate(applied), y.astype(np.float64), plain, 1.0)
    assert_within(units, parts_from_whole(dtype), "y")
    sums = sum(
        nd.batch_norm_gradient_sums(g, part, stats, **options)
        for g, part in zip(grads, parts, strict=True)
    )
    assert sums.count == stats.count
    got = np.concatenate([
        nd.batch_norm_backward_apply(g, part, stats, sums, weight, **options)
        for g, part in zip(grads, parts, strict=True)
    ])  # fmt: skip
    want = nd.batch_norm_backward(grad, x, whole, weight, **options)
    channel, others = split_axes(axis, x.ndim)
    shaped = [along(value, channel, x.ndim) for value in (weight, whole.mean, whole.inv_std)]
    expected = want.x.astype(np.float64)
    errors = gradient_roundoffs(got, expected, grad * shaped[0], x, *shaped[1:], others)
    assert_within(errors, 2 * limits(dtype).gradient, "grad x")
    fence = limits(dtype).fence_relative
    np.testing.assert_allclose(sums.grad_x_hat, want.weight.astype(np.float64), fence, fence)
    np.testing.assert_allclose(sums.grad, want.bias.astype(np.float64), fence, fence)


# Merging -----------------------------------------------------------------------------------------


def one_channel(mean, var, count, eps):
    with np.errstate(divide="ignore"):
        inv_std = 1.0 / np.sqrt(np.float64(var) + eps) if count else np.nan
    mean, var = (mean, var) if count else (np.nan, np.nan)
    return nd.BatchStats(np.array([mean]), np.array([var]), np.array([inv_std]), count)


FAR_APART = {
    "alike": [(1.0, 2.0, 3), (1.0, 2.0, 5)],
    "next_to_each_other": [(1.0, 1e-9, 7), (1.0 + 2.0**-52, 1e-9, 4), (1.0 - 2.0**-53, 2e-9, 11)],
    "far_apart": [(-1e8, 1e-3, 3), (1e8, 1e-4, 5), (3.0, 7.0, 2)],
    "very_far_apart": [(1e150, 1.0, 3), (-3e149, 1e280, 4), (1.0, 1e-300, 9)],
    "of_very_different_sizes": [(0.25, 1.0, 2**40 + 1), (1e6, 1e-20, 1), (-3.0, 5.0, 12345)],
    "with_empty_ones": [(1.5, 2.0, 3), (0.0, 0.0, 0), (-2.5, 1.0, 4), (0.0, 0.0, 0)],
    "single_values": [(0.1, 0.0, 1), (0.3, 0.0, 1), (0.7, 0.0, 1)],
    "of_means_that_cancel": [(1e16, 1.0, 1), (1.0, 1.0, 1), (-1e16, 1.0, 1)],
    "tiny": [(1e-170, 1e-300, 3), (2e-170, 3e-300, 4)],
}


@pytest.mark.parametrize("eps", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("name", FAR_APART)
def test_merged_statistics_are_rounded_once(name, eps):
    """Of what the parts say, as Chan's rule in double precision is not."""
    parts = FAR_APART[name]
    got = nd.BatchStats.merged([one_channel(*part, eps) for part in parts], eps=eps)
    mean, var, inv_std = exact_merged(parts, eps)
    assert got.count == sum(count for *_, count in parts)
    for value, exact in zip(got[:3], (mean, var, inv_std), strict=True):
        assert value.shape == (1,) and value.dtype == np.float64
        assert_within(statistics_units(float(value[0]), exact), MERGED_UNITS, name)


def test_the_rule_in_plain_doubles_would_not_pass():
    """The comparison above can fail."""
    parts = FAR_APART["of_means_that_cancel"]
    mean = sum(m * n for m, _, n in parts) / sum(n for *_, n in parts)
    assert statistics_units(mean, exact_merged(parts, 0.0)[0]) > MERGED_UNITS
    parts = FAR_APART["next_to_each_other"]
    mean = sum(m * n for m, _, n in parts) / sum(n for *_, n in parts)
    square = sum((v + m * m) * n for m, v, n in parts) / sum(n for *_, n in parts)
    assert statistics_units(square - mean**2, exact_merged(parts, 0.0)[1]) > MERGED_UNITS


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_variances_beyond_the_range_of_double(scale):
    """var overflows, or is 0, while inv_std has all of its digits."""
    x = normal((17, 5), np.float64, "x") * scale
    eps = 0.0 if scale < 1 else 1e-5
    parts = [nd.batch_stats(part, eps=eps) for part in np.split(x, [3, 10])]
    got, whole = nd.BatchStats.merged(parts, eps=eps), nd.batch_stats(x, eps=eps)
    assert np.isinf(got.var).all() if scale > 1 else not got.var.any()
    np.testing.assert_allclose(got.inv_std, whole.inv_std, 1e-14)
    np.testing.assert_allclose(got.mean, whole.mean, 1e-13)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_constant_parts_stay_exactly_constant(eps):
    x = np.broadcast_to([0.1, 1 / 3, 1e7 + 1, -16777217.0], (23, 4)).copy()
    parts = [nd.batch_stats(part, eps=eps) for part in np.split(x, [1, 8, 9])]
    got = nd.BatchStats.merged(parts, eps=eps)
    assert_same_bits(got.mean, x[0])
    assert not got.var.any()
    assert_same_bits(nd.batch_norm_apply(x, got), np.zeros_like(x))


def test_nothing_but_empty_parts():
    empty = nd.batch_stats(np.empty((0, 3)))
    assert empty.count == 0 and np.isnan(empty.mean).all() and np.isnan(empty.inv_std).all()
    got = nd.BatchStats.merged([empty, empty])
    assert got.count == 0
    assert all(np.isnan(value).all() and value.shape == (3,) for value in got[:3])
    assert nd.BatchStats.merged((nd.batch_stats(np.ones((1, 3))), empty)).count == 1


def test_a_bad_part_spoils_its_own_channel_only():
    x = normal((7, 3), np.float64, "x")
    parts = [nd.batch_stats(part) for part in np.split(x, [3])]
    clean = nd.BatchStats.merged(parts)
    for bad in (np.nan, np.inf):
        parts[0].mean[1] = bad
        got = nd.BatchStats.merged(parts)
        assert np.isnan(got.inv_std[1]) and not np.isfinite(got.mean[1])
        for left, right in zip(got[:3], clean[:3], strict=True):
            assert_same_bits(left[[0, 2]], right[[0, 2]])


def test_merging_leaves_the_parts_alone(unchanged):
    parts = [nd.batch_stats(part) for part in np.split(normal((7, 3), np.float64, "x"), [3])]
    unchanged(*(array for part in parts for array in part[:3]))
    got = nd.BatchStats.merged(parts)
    assert isinstance(got, nd.BatchStats)
    one = nd.BatchStats.merged(parts[:1])
    assert_same_bits((one.mean, one.var, one.count), (parts[0].mean, parts[0].var, 3))
    np.testing.assert_allclose(one.inv_std, parts[0].inv_std, 1e-15)
    assert not np.shares_memory(one.mean, parts[0].mean)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: [], ValueError, "parts must hold at least one BatchStats, got none"),
        (lambda p: p[0], TypeError, "parts must be a list of BatchStats, got BatchStats"),
        (lambda p: 3, TypeError, "parts must be a list of BatchStats, got int"),
        (lambda p: iter(p), TypeError, "parts must be a list of BatchStats, got list_iterator"),
        (lambda p: [p[0], tuple(p[1])], TypeError, r"parts\[1\] must be a BatchStats, got tuple"),
        (lambda p: [p[0]._replace(count=-1)], ValueError, r"parts\[0\]\.count must be 0 .* got -1"),
        (lambda p: [p[0]._replace(count=1.0)], TypeError, r"parts\[0\]\.count must be an integer"),
        (lambda p: [p[0]._replace(var=[1.0])], TypeError, r"parts\[0\]\.var must be a numpy"),
        (lambda p: [p[0], p[1]._replace(mean=np.zeros(4))], ValueError,
         r"parts\[1\]\.mean must have shape \(3,\), got \(4,\)"),
        (lambda p: [p[0]._replace(mean=p[0].mean.astype(np.float32))], TypeError,
         r"parts\[0\]\.mean must have dtype float64, got float32"),
    ],
)  # fmt: skip
def test_wrong_parts(change, error, message):
    parts = [nd.batch_stats(part) for part in np.split(normal((7, 3), np.float64, "x"), [3])]
    with pytest.raises(error, match=f"^BatchStats.merged: {message}"):
        nd.BatchStats.merged(change(parts))


@pytest.mark.parametrize(("made", "given"), [(1e-3, 1e-5), (1e-5, 1e-3), (0.0, 1e-5), (1e-5, 0.0)])
def test_another_eps_than_that_of_the_parts_is_refused(made, given):
    """inv_std would be that of neither; where var is huge eps says nothing, and passes."""
    x = normal((7, 3), np.float64, "x")
    parts = [nd.batch_stats(part, eps=made) for part in np.split(x, [3])]
    with pytest.raises(ValueError, match=rf"BatchStats\.merged: eps must be .* got {given}"):
        nd.BatchStats.merged(parts, eps=given)
    parts = [nd.batch_stats(part * 1e9, eps=made) for part in np.split(x, [3])]
    nd.BatchStats.merged(parts, eps=given)
    for wrong, error in ((-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match=r"BatchStats\.merged: eps must be"):
            nd.BatchStats.merged(parts, eps=wrong)


# Sums --------------------------------------------------------------------------------------------


def test_sums_add_up_field_by_field():
    a = nd.GradientSums(np.array([1.0, 2.0]), np.array([3.0, 4.0]), 5)
    b = nd.GradientSums(np.array([0.5, 0.25]), np.array([-1.0, 2.0]), 7)
    total = a + b
    assert_same_bits(total.grad, np.array([1.5, 2.25]))
    assert_same_bits(total.grad_x_hat, np.array([2.0, 6.0]))
    assert total.count == 12
    assert sum([a, b]) == total == b + a
    assert a.grad.tolist() == [1.0, 2.0], "the parts stay as they are"


def test_sums_add_to_nothing_else():
    a = nd.GradientSums(np.ones(2), np.ones(2), 5)
    for other in (1, 1.0, (1, 2, 3), None, nd.BatchStats(*np.ones((3, 2)), 5)):
        with pytest.raises(TypeError):
            a + other
    with pytest.raises(TypeError):
        1 + a
    with pytest.raises(ValueError, match=r"GradientSums: grad must have one shape in both, got"):
        a + nd.GradientSums(np.ones(1), np.ones(1), 5)


# Edges and arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 5), (3, 5, 0), (0, 0), (3, 0)])
def test_empty_arrays(shape, dtype):
    x, weight, bias, grad = case(shape, 1, dtype)
    stats = nd.batch_stats(x)
    assert stats.count == x.size // max(shape[1], 1) or shape[1] == 0
    if x.size == 0:
        assert np.isnan(stats.mean).all() and np.isnan(stats.inv_std).all()
    ones = nd.BatchStats(*np.ones((3, shape[1])), 9)
    assert nd.batch_norm_apply(x, ones, weight, bias).shape == shape
    sums = nd.batch_norm_gradient_sums(grad, x, ones)
    assert not sums.grad.any() and not sums.grad_x_hat.any() and sums.grad.shape == (shape[1],)
    sums = nd.GradientSums(sums.grad, sums.grad_x_hat, 9)
    assert nd.batch_norm_backward_apply(grad, x, ones, sums, weight).shape == shape


def test_one_value_per_channel_has_statistics(dtype):
    """Unlike training, which needs two: parts may be that small."""
    x = normal((1, 5), dtype, "x")
    stats = nd.batch_stats(x, eps=0.25)
    assert stats.count == 1
    assert_same_bits(stats.mean, x[0].astype(np.float64))
    assert not stats.var.any() and (stats.inv_std == 2.0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_spoil_their_own_channel_only(bad, dtype):
    for shape in ((7, 5), (3, 5, 11)):
        x, _, _, grad = case(shape, 1, dtype)
        clean = nd.batch_stats(x)
        sums = nd.batch_norm_gradient_sums(grad, x, clean)
        x[1, 2] = bad
        stats = nd.batch_stats(x)
        assert np.isnan(stats.inv_std[2])
        others = [0, 1, 3, 4]
        for left, right in zip(stats[:3], clean[:3], strict=True):
            assert_same_bits(left[others], right[others])
        spoilt = nd.batch_norm_gradient_sums(grad, x, clean)
        assert_same_bits(spoilt.grad_x_hat[others], sums.grad_x_hat[others])
        assert not np.isfinite(spoilt.grad_x_hat[2])


def test_out_is_filled_and_returned_and_may_be_an_input(dtype):
    for shape, axis in (((13, 5), 1), ((3, 5, 11), 1), ((3, 11, 5), -1)):
        x, weight, bias, grad = case(shape, axis, dtype)
        options = {"channel_axis": axis}
        stats = nd.batch_stats(x, **options)
        sums = nd.batch_norm_gradient_sums(grad, x, stats, **options)
        y = nd.batch_norm_apply(x, stats, weight, bias, **options)
        of_x = nd.batch_norm_backward_apply(grad, x, stats, sums, weight, **options)
        for out in (np.full((*shape, 2), np.nan, dtype)[..., 0], np.full_like(x, np.nan)):
            assert nd.batch_norm_apply(x, stats, weight, bias, out=out, **options) is out
            assert_same_bits(out.copy(), y)
            got = nd.batch_norm_backward_apply(grad, x, stats, sums, weight, out=out, **options)
            assert got is out
            assert_same_bits(out.copy(), of_x)
        same = x.copy()
        nd.batch_norm_apply(same, stats, weight, bias, out=same, **options)
        assert_same_bits(same, y)
        same = grad.copy()
        nd.batch_norm_backward_apply(same, x, stats, sums, weight, out=same, **options)
        assert_same_bits(same, of_x)


def test_statistics_and_sums_are_used_as_passed():
    x, weight, bias, grad = case((3, 5, 11), 1, np.float64)
    mean, inv_std = normal((5,), np.float64, "mean"), normal((5,), np.float64, "s") ** 2 + 0.5
    stats = nd.BatchStats(mean, np.full(5, np.nan), inv_std, 0)
    sums = nd.GradientSums(normal((5,), np.float64, "g"), normal((5,), np.float64, "p"), 77)
    options = {"rtol": limits(np.float64).fence_relative, "atol": 1e-13}
    got = nd.batch_norm_apply(x, stats, weight, bias)
    np.testing.assert_allclose(got, reference.batch_norm_apply(x, stats, weight, bias), **options)
    got = nd.batch_norm_backward_apply(grad, x, stats, sums, weight)
    want = reference.batch_norm_backward_apply(grad, x, stats, sums, weight)
    np.testing.assert_allclose(got, want, **options)


@pytest.mark.parametrize("mutant", ["count", "mean", "product", "inv_std"])
def test_wrong_results_are_rejected(mutant, dtype):
    """Sums of another count, a missing term, statistics of one unit too much."""
    x, weight, bias, grad = case((13, 5), 1, dtype)
    real = nd.batch_norm_backward_apply, nd.batch_stats

    def backward(grad, x, stats, sums, weight, *, channel_axis):
        changed = {
            "count": nd.GradientSums(sums.grad, sums.grad_x_hat, sums.count + 1),
            "mean": nd.GradientSums(0 * sums.grad, sums.grad_x_hat, sums.count),
            "product": nd.GradientSums(sums.grad, 0 * sums.grad_x_hat, sums.count),
        }.get(mutant, sums)
        return real[0](grad, x, stats, changed, weight, channel_axis=channel_axis)

    def statistics(x, *, channel_axis, eps):
        stats = real[1](x, channel_axis=channel_axis, eps=eps)
        if mutant == "inv_std":
            by = 1 + PERTURBATION * limits(dtype).inv_std * 2.0**-52
            return stats._replace(inv_std=stats.inv_std * by)
        return stats

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "batch_norm_backward_apply", backward)
        patch.setattr(nd, "batch_stats", statistics)
        with pytest.raises(AssertionError, match=r"(grad x|inv_std): error"):
            check_halves(x, weight, bias, grad)


def test_reference_splits_as_the_functions_do():
    """Its own halves, merged by its own sums, are its batch norm."""
    x, weight, bias, grad = case((3, 5, 11), 1, np.float64)
    stats = reference.batch_stats(x)
    y, whole = reference.batch_norm_forward(x, weight, bias)
    assert_same_bits((reference.batch_norm_apply(x, stats, weight, bias), stats), (y, whole))
    sums = reference.batch_norm_gradient_sums(grad, x, stats)
    got = reference.batch_norm_backward_apply(grad, x, stats, sums, weight)
    want = reference.batch_norm_backward(grad, x, stats, weight)
    assert_same_bits((got, sums.grad_x_hat, sums.grad), tuple(want))
    channel, others = split_axes(1, 3)
    assert channel == (1,) and np.allclose(want.x.sum(others), 0, atol=1e-12)
