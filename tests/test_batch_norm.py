"""Batch norm against the reference: shapes, modes, running statistics, edges and ``out``."""

from __future__ import annotations

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import BATCH_NORM_CASES, constants, normal, parameter, wide
from comparing import assert_same_bits, assert_within, check_batch_norm, forward_units
from normdrop import reference
from tolerances import (
    ANOTHER_ORDER,
    BETWEEN_BACKENDS,
    FEW_ROUNDINGS,
    FROZEN_ROUNDINGS,
    HAND_KNOWN_RELATIVE,
    MANY_UPDATES,
    ONE_ROUNDING,
    PERTURBATION,
    UPDATE_ROUNDINGS,
    VANISHING,
    limits,
)

pytestmark = pytest.mark.usefixtures("backend")


def case(shape, axis, dtype, offset=0.0):
    channels = (shape[axis],)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(channels, dtype, "weight"),
        parameter(channels, dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


def running(channels, dtype):
    dtype = wide(dtype)
    return (
        normal((channels,), dtype, "running mean"),
        (normal((channels,), dtype, "running var") ** 2 + 0.25).astype(dtype),
    )


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("shape", "axis"), BATCH_NORM_CASES)
def test_every_shape_and_channel_axis(shape, axis, frozen, dtype, unchanged):
    arrays = case(shape, axis, dtype, offset=0.5)
    unchanged(*arrays)
    check_batch_norm(*arrays, channel_axis=axis, frozen=frozen)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5, 37), 1), ((3, 7, 5), 1), ((3, 5, 7), -1)])
def test_weight_and_bias_are_independent(shape, axis, has_weight, has_bias, dtype):
    """Only one of the two used to be wrong, missing or a crash elsewhere (E1, E2, E3)."""
    x, weight, bias, grad = case(shape, axis, dtype)
    weight, bias = weight if has_weight else None, bias if has_bias else None
    check_batch_norm(x, weight, bias, grad, channel_axis=axis)
    mean, var = running(shape[axis], dtype)
    check_inference(x, mean, var, weight, bias, channel_axis=axis)


@pytest.mark.parametrize("eps", [1e-12, 0.1, 1.0, 1e4])
def test_eps_stands_inside_the_root_once(eps, dtype):
    """The variance is not recovered from inv_std, where a default eps hides the loss (G8)."""
    arrays = case((13, 5, 7), 1, dtype)
    check_batch_norm(*arrays, eps=eps)
    _, stats = nd.batch_norm_forward(arrays[0], eps=eps)
    _, other = nd.batch_norm_forward(arrays[0], eps=1e-5)
    assert_same_bits(stats.var, other.var)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_every_size_around_the_vector_widths(layout, dtype):
    for size in [*range(1, 131), 255, 257, 1023]:
        shape, axis = ((3, 2, size), 1) if layout == "channels_first" else ((3, size), 1)
        check_batch_norm(*case(shape, axis, dtype), channel_axis=axis)


def test_many_channels():
    """More than 65,536 channels (C10)."""
    check_batch_norm(*case((3, 70_001), 1, np.float32))
    check_batch_norm(*case((2, 70_001, 2), 1, np.float32))


@pytest.mark.parametrize("rows", [65535, 65537, 131072])
def test_large_batches(rows):
    """Launch limits and 16-bit counters (C7, C8)."""
    check_batch_norm(*case((rows, 3), 1, np.float32))


def test_channels_longer_than_any_cache_block():
    check_batch_norm(*case((5, 3, 40_009), 1, np.float32, offset=10.0))
    check_batch_norm(*case((40_009, 5), 1, np.float64, offset=10.0))


def test_two_values_per_channel_pass_no_gradient(dtype):
    x, grad = normal((2, 5), dtype, "x"), normal((2, 5), dtype, "grad")
    _, stats = nd.batch_norm_forward(x, eps=1e-12)
    gradients = nd.batch_norm_backward(grad, x, stats)
    assert np.abs(gradients.x).max() < VANISHING * np.abs(grad).max() * stats.inv_std.max()


def test_hand_known_answer(dtype):
    x = np.array([[1.0], [2.0], [3.0], [4.0]], dtype)
    y, stats = nd.batch_norm_forward(x, np.ones(1, dtype), np.zeros(1, dtype), eps=0.0)
    expected = np.array([-1.3416408, -0.4472136, 0.4472136, 1.3416408]).astype(dtype)
    assert np.allclose(
        y.ravel().astype(np.float64), expected.astype(np.float64), rtol=2 * HAND_KNOWN_RELATIVE
    )
    assert (stats.mean[0], stats.var[0], stats.count) == (2.5, 1.25, 4)


def test_training_ignores_running_statistics_and_momentum():
    """Normalising with statistics already mixed with the running ones (G6)."""
    x, weight, bias, _ = case((7, 5, 3), 1, np.float32)
    before = nd.batch_norm_forward(x, weight, bias)
    mean, var = running(5, np.float32)
    nd.update_running_stats(mean, var, before[1], momentum=0.9)
    assert_same_bits(nd.batch_norm_forward(x, weight, bias), before)


def test_identity_is_restored_by_the_statistics():
    x = normal((7, 5), np.float64, "x") * 4 + 3
    _, stats = nd.batch_norm_forward(x, eps=0.1)
    y, _ = nd.batch_norm_forward(x, np.sqrt(stats.var + 0.1), stats.mean.copy(), eps=0.1)
    assert np.allclose(y, x, rtol=FEW_ROUNDINGS, atol=FEW_ROUNDINGS)


def test_layer_norm_of_the_transpose_is_batch_norm(dtype):
    x = normal((37, 5), dtype, "x", offset=2.0)
    y, stats = nd.batch_norm_forward(x)
    other, other_stats = nd.layer_norm_forward(np.ascontiguousarray(x.T))
    assert_within(forward_units(y, other.T.astype(np.float64), y.astype(np.float64)),
                  BETWEEN_BACKENDS * limits(dtype).forward)  # fmt: skip
    assert np.allclose(stats.mean, other_stats.mean, rtol=ANOTHER_ORDER)


# Inference --------------------------------------------------------------------------------------


def check_inference(x, mean, var, weight, bias, **options):
    y = nd.batch_norm(x, mean, var, weight, bias, **options)
    expected = reference.batch_norm(x, mean, var, weight, bias, **options)
    plain = reference.batch_norm(x, mean, var, weight, None, **options)
    assert y.dtype == x.dtype and y.shape == x.shape
    assert_within(forward_units(y, expected, plain), limits(x.dtype).reference, "inference")


@pytest.mark.parametrize("running_dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [*BATCH_NORM_CASES, ((1, 5), 1)])
def test_inference(shape, axis, running_dtype, dtype, unchanged):
    """Running statistics of either dtype; one value per channel is fine here (F6)."""
    x, weight, bias, _ = case(shape, axis, dtype)
    mean, var = running(shape[axis], running_dtype)
    unchanged(x, weight, bias, mean, var)
    for eps in (0.0, 1e-5, 0.5):
        check_inference(x, mean, var, weight, bias, channel_axis=axis, eps=eps)


def test_inference_with_the_batch_statistics_is_training(dtype):
    """eps counted twice or recovered from inv_std shows here (G9)."""
    x, weight, bias, _ = case((7, 5, 3), 1, dtype)
    y, stats = nd.batch_norm_forward(x, weight, bias, eps=1.0)
    again = nd.batch_norm(x, stats.mean, stats.var, weight, bias, eps=1.0)
    expected = reference.batch_norm_forward(x, weight, bias, eps=1.0)[0]
    plain = reference.batch_norm_forward(x, weight, None, eps=1.0)[0]
    for result in (y, again):
        assert_within(forward_units(result, expected, plain), limits(dtype).reference)


@pytest.mark.parametrize("parameter_dtype", [np.float32, np.float64])
def test_from_running(parameter_dtype):
    mean, var = running(5, parameter_dtype)
    stats = nd.BatchStats.from_running(mean, var, 0.25)
    assert_same_bits(stats.mean, mean.astype(np.float64))
    assert_same_bits(stats.var, var.astype(np.float64))
    assert_same_bits(stats.inv_std, 1 / np.sqrt(var.astype(np.float64) + 0.25))


def test_frozen_backward_is_weight_times_inv_std_times_grad(dtype):
    """The backward of the inference form, wrong where only training has one (G12)."""
    x, weight, _, grad = case((7, 5, 3), 1, dtype)
    mean, var = running(5, dtype)
    stats = nd.BatchStats.from_running(mean, var, 0.1)
    got = nd.batch_norm_backward(grad, x, stats, weight, frozen=True)
    factor = weight.astype(np.float64) * stats.inv_std
    assert np.allclose(
        got.x, grad * factor[:, None], rtol=FROZEN_ROUNDINGS * float(finfo(dtype).eps), atol=0
    )
    want = reference.batch_norm_backward(grad, x, stats, weight, frozen=True)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(dtype).fence_relative,
                           atol=limits(dtype).fence_relative)  # fmt: skip


def test_backward_uses_the_statistics_as_passed():
    x, weight, _, grad = case((7, 5), 1, np.float64)
    stats = nd.BatchStats(np.linspace(-1, 1, 5), np.ones(5), np.linspace(0.5, 2, 5), 7)
    got = nd.batch_norm_backward(grad, x, stats, weight)
    want = reference.batch_norm_backward(grad, x, stats, weight)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative)


# Running statistics ------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.99, 1.0])
def test_update_running_stats(momentum, correction, dtype):
    """Momentum weighs the new batch (G5); the estimator is a choice (G1, G2)."""
    for rows in (2, 3, 7):
        _, stats = nd.batch_norm_forward(normal((rows, 5), np.float32, "x"))
        mean, var = running(5, dtype)
        want_mean, want_var = mean.copy(), var.copy()
        assert nd.update_running_stats(
            mean, var, stats, momentum=momentum, correction=correction
        ) is None  # fmt: skip
        reference.update_running_stats(
            want_mean, want_var, stats, momentum=momentum, correction=correction
        )
        relative = UPDATE_ROUNDINGS * float(finfo(dtype).eps)
        assert np.allclose(mean, want_mean, rtol=relative, atol=relative)
        assert np.allclose(var, want_var, rtol=relative, atol=0)


def test_default_momentum_and_correction_are_those_of_pytorch():
    stats = nd.BatchStats(np.array([2.0]), np.array([3.0]), np.array([0.5]), 4)
    mean, var = np.zeros(1), np.ones(1)
    nd.update_running_stats(mean, var, stats)
    assert np.allclose([mean[0], var[0]], [0.2, 0.9 + 0.1 * 4.0], rtol=ONE_ROUNDING)


def test_image_channel_counts_every_value():
    """m / (m - 1) with m = N * H * W, not N."""
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
    _, stats = nd.batch_norm_forward(x)
    assert (stats.count, stats.var[0]) == (8, 5.25)
    mean, var = np.zeros(1), np.zeros(1)
    nd.update_running_stats(mean, var, stats, momentum=1.0)
    assert var[0] == 6.0


@pytest.mark.parametrize("steps", [1, 11, 1000])
def test_running_statistics_follow_their_closed_form(steps):
    _, stats = nd.batch_norm_forward(normal((7, 5), np.float64, "x"))
    mean, var = np.full(5, 5.0), np.full(5, 9.0)
    for _ in range(steps):
        nd.update_running_stats(mean, var, stats, momentum=0.1, correction=0)
    assert np.allclose(mean, stats.mean + 0.9**steps * (5.0 - stats.mean), rtol=MANY_UPDATES)
    assert np.allclose(var, stats.var + 0.9**steps * (9.0 - stats.var), rtol=MANY_UPDATES)


def test_cumulative_average_is_the_mean_of_the_batches():
    """momentum = 1 / t averages all batches alike (G4)."""
    batches = [nd.batch_norm_forward(normal((7, 3), np.float64, i))[1] for i in range(100)]
    mean, var = np.zeros(3), np.ones(3)
    for step, stats in enumerate(batches, start=1):
        nd.update_running_stats(mean, var, stats, momentum=1 / step)
    assert np.allclose(
        mean, np.mean([s.mean for s in batches], axis=0), rtol=MANY_UPDATES, atol=FEW_ROUNDINGS
    )
    unbiased = [s.var * 7 / 6 for s in batches]
    assert np.allclose(var, np.mean(unbiased, axis=0), rtol=MANY_UPDATES)


def test_running_variance_is_never_negative(dtype):
    """Published checkpoints hold negative running variances (A15)."""
    x = (1e4 + np.zeros((64, 3)) + 1e-3 * normal((64, 3), np.float64, "x")).astype(dtype)
    _, stats = nd.batch_norm_forward(x)
    mean, var = np.zeros(3, wide(dtype)), np.zeros(3, wide(dtype))
    nd.update_running_stats(mean, var, stats, momentum=1.0)
    assert (stats.var >= 0).all() and (var >= 0).all()


def test_running_statistics_may_be_strided(dtype):
    _, stats = nd.batch_norm_forward(normal((7, 5), np.float32, "x"))
    mean, var = running(5, dtype)
    big = np.full((5, 2), 7.0, wide(dtype))
    strided_mean, strided_var = big[::-1, 0], big[:, 1]
    strided_mean[...], strided_var[...] = mean, var
    nd.update_running_stats(mean, var, stats)
    nd.update_running_stats(strided_mean, strided_var, stats)
    assert_same_bits((strided_mean.copy(), strided_var.copy()), (mean, var))


# Edges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((5, 0), 1), ((3, 0, 7), 1), ((0, 3, 7), 0)])
def test_no_channels(shape, axis, dtype):
    x, weight = np.empty(shape, dtype), np.empty(0, dtype)
    y, stats = nd.batch_norm_forward(x, weight, weight, channel_axis=axis)
    assert y.shape == shape and stats.mean.shape == stats.var.shape == (0,)
    gradients = nd.batch_norm_backward(x, x, stats, weight, channel_axis=axis)
    assert gradients.x.shape == shape and gradients.weight.shape == gradients.bias.shape == (0,)
    empty = np.empty(0)
    assert nd.batch_norm(x, empty, empty, channel_axis=axis).shape == shape


@pytest.mark.parametrize("shape", [(0, 5), (0, 5, 7), (3, 5, 0)])
def test_no_values_per_channel(shape, dtype):
    """Inference of nothing is nothing; its gradients are 0 (F2, F5)."""
    x, weight = np.empty(shape, dtype), parameter((5,), dtype, "weight")
    mean, var = running(5, dtype)
    assert nd.batch_norm(x, mean, var, weight).shape == shape
    stats = nd.BatchStats.from_running(mean, var, 1e-5)
    gradients = nd.batch_norm_backward(x, x, stats, weight, frozen=True)
    assert gradients.x.shape == shape
    assert not gradients.weight.any() and not gradients.bias.any()


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (1, 5, 1), (0, 5, 7)])
def test_training_needs_two_values_per_channel(shape):
    """n / (n - 1) is not finite and one value says nothing of a variance (F6, F7)."""
    with pytest.raises(ValueError, match=r"batch_norm_forward: x .*channel.*got [01]"):
        nd.batch_norm_forward(np.zeros(shape, np.float32))


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("shape", [(2, 1), (37, 1), (3, 1, 769)])
def test_constant_channels_give_exactly_the_bias(shape, eps, dtype):
    """A rounded mean leaves something that 1 / sqrt(eps) blows up (A4, A5)."""
    values = constants(dtype)
    channels = values.size
    sizes = (shape[0], channels, *shape[2:])
    x = np.empty(sizes, dtype)
    x[...] = values.reshape(channels, *(1,) * (len(shape) - 2))
    weight, bias = (parameter((channels,), dtype, name) * 100 for name in ("weight", "bias"))
    y, stats = nd.batch_norm_forward(x, weight, bias, eps=eps)
    expected = np.broadcast_to(bias.reshape(channels, *(1,) * (len(shape) - 2)), sizes) + 0
    assert_same_bits(y, expected)
    assert not stats.var.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("shape", "axis"), [((33, 7), 1), ((5, 7, 11), 1), ((5, 11, 7), -1)])
def test_nan_and_infinity_spoil_their_own_channel_only(shape, axis, bad, dtype):
    x, weight, bias, _ = case(shape, axis, dtype)
    clean, _ = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    channels, clean_channels = np.moveaxis(x, axis, 0), np.moveaxis(clean, axis, 0)
    channels[3].flat[0] = bad
    np.moveaxis(x, axis, 0)[(3, *(0,) * (x.ndim - 1))] = bad
    y, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    y_channels = np.moveaxis(y, axis, 0)
    assert np.isnan(y_channels[3]).all()
    y_channels[3] = clean_channels[3]
    assert_same_bits(y, clean)
    assert np.flatnonzero(np.isnan(stats.inv_std)).tolist() == [3]


@pytest.mark.parametrize("axis", [1, 3])
def test_infinity_in_inference_is_infinity(axis, dtype):
    """Also where a slope has digits of both signs that its dtype does not hold, and at overflow."""
    channels, largest = 12, float(finfo(dtype).max)
    shape = (2, channels, 3, 5) if axis == 1 else (2, 3, 5, channels)
    x = normal(shape, dtype)
    x.reshape(-1)[::7] = np.inf
    x.reshape(-1)[1::7] = -np.inf
    x.reshape(-1)[2::7] = largest
    weight = np.linspace(-3, 3, channels).astype(dtype)
    bias = normal((channels,), dtype, "bias")
    mean = normal((channels,), np.float64, "mean")
    var = np.logspace(-14, 3, channels)
    got = nd.batch_norm(x, mean, var, weight, bias, channel_axis=axis, eps=0.0)
    lines = [1] * 4
    lines[axis] = channels
    with np.errstate(invalid="ignore", over="ignore"):
        slope = weight.astype(np.longdouble) / np.sqrt(var.astype(np.longdouble))
        exact = (x - mean.reshape(lines)) * slope.reshape(lines) + bias.reshape(lines)
        expected = exact.astype(dtype)
    assert_same_bits(np.isnan(got), np.isnan(expected))
    infinite = np.isinf(expected) & (np.abs(exact) > 2 * np.longdouble(largest))
    assert infinite.any()
    assert_same_bits(got[infinite], expected[infinite])
    assert np.isfinite(got[np.abs(exact) < largest / 2]).all()


def test_nan_in_inference_stays_where_it_is(dtype):
    x, weight, bias, _ = case((5, 7, 11), 1, dtype)
    mean, var = running(7, dtype)
    clean = nd.batch_norm(x, mean, var, weight, bias)
    x[2, 3, 4] = np.nan
    y = nd.batch_norm(x, mean, var, weight, bias)
    assert np.argwhere(np.isnan(y)).tolist() == [[2, 3, 4]]
    y[2, 3, 4] = clean[2, 3, 4]
    assert_same_bits(y, clean)


# out ---------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(dtype):
    x, weight, bias, grad = case((5, 7, 11), 1, dtype)
    mean, var = running(7, dtype)
    y, stats = nd.batch_norm_forward(x, weight, bias)
    inference = nd.batch_norm(x, mean, var, weight, bias)
    gradients = nd.batch_norm_backward(grad, x, stats, weight)
    for out in (np.full_like(x, np.nan), np.full((5, 7, 22), np.nan, dtype)[:, :, ::2],
                np.full((11, 5, 7), np.nan, dtype).transpose(1, 2, 0)):  # fmt: skip
        result, result_stats = nd.batch_norm_forward(x, weight, bias, out=out)
        assert result is out
        assert_same_bits((out.copy(), result_stats), (y, stats))
        assert nd.batch_norm(x, mean, var, weight, bias, out=out) is out
        assert_same_bits(out.copy(), inference)
        result = nd.batch_norm_backward(grad, x, stats, weight, out=out)
        assert result.x is out
        assert_same_bits((out.copy(), *result[1:]), tuple(gradients))


@pytest.mark.parametrize("axis", [1, -1])
def test_out_may_be_x_or_grad_output_itself(axis, dtype):
    x, weight, bias, grad = case((5, 7, 11), axis, dtype)
    mean, var = running(x.shape[axis], dtype)
    expected, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    same = x.copy()
    assert nd.batch_norm_forward(same, weight, bias, channel_axis=axis, out=same)[0] is same
    assert_same_bits(same, expected)
    inference = nd.batch_norm(x, mean, var, weight, bias, channel_axis=axis)
    same = x.copy()
    assert nd.batch_norm(same, mean, var, weight, bias, channel_axis=axis, out=same) is same
    assert_same_bits(same, inference)
    gradients = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
    same = grad.copy()
    got = nd.batch_norm_backward(same, x, stats, weight, channel_axis=axis, out=same)
    assert_same_bits(got, gradients)


# The comparison itself ---------------------------------------------------------------------------


def test_a_perturbed_result_is_rejected(dtype):
    """A comparison that cannot fail proves nothing (H1, H4)."""
    x, weight, bias, _ = case((7, 5, 3), 1, dtype)
    y, _ = nd.batch_norm_forward(x, weight, bias)
    expected, _ = reference.batch_norm_forward(x, weight, bias)
    plain, _ = reference.batch_norm_forward(x, weight)
    limit = limits(dtype).reference
    assert forward_units(y, expected, plain).max() <= limit
    perturbed = y.copy()
    perturbed[2, 3, 1] *= 1 + PERTURBATION * limit * finfo(dtype).eps
    assert forward_units(perturbed, expected, plain).max() > limit


@pytest.mark.parametrize("mutant", ["unbiased", "no_product", "frozen", "sum_grad"])
def test_wrong_formulas_are_rejected(mutant, dtype):
    x, weight, bias, grad = case((7, 5), 1, dtype)
    mean, var, inv_std, _ = nd.batch_norm_forward(x)[1]
    x_hat, g = (x - mean) * inv_std, grad * weight
    real = nd.batch_norm_backward, nd.batch_norm_forward
    wrong = {
        "no_product": g - g.mean(0),
        "frozen": g,
        "sum_grad": g - 2 * g.mean(0) - x_hat * (g * x_hat).mean(0),
        "unbiased": g,
    }[mutant]

    def backward(*args, **options):
        return real[0](*args, **options)._replace(x=(wrong * inv_std).astype(dtype))

    def forward(*args, **options):
        y = (x - mean) / np.sqrt(var * 7 / 6 + 1e-5) * weight + bias
        return y.astype(dtype), real[1](*args, **options)[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "batch_norm_backward", backward)
        if mutant == "unbiased":
            patch.setattr(nd, "batch_norm_forward", forward)
        with pytest.raises(AssertionError, match="y: error" if mutant == "unbiased" else "grad x"):
            check_batch_norm(x, weight, bias, grad)


@pytest.mark.parametrize("rows", [64, 65, 3 * 64 + 1])
def test_gradients_of_narrow_rows_with_a_huge_channel(rows, backend):
    """Rows seen several as one: behind the end of the last of them lie other channels."""
    x, grad = normal((rows, 3), np.float64, "x"), normal((rows, 3), np.float64, "grad")
    x[:, 1] = 1e307
    _, stats = nd.batch_norm_forward(x)
    for frozen in (False, True):
        got = nd.batch_norm_backward(grad, x, stats, np.ones(3), frozen=frozen)
        for values in got:
            assert np.isfinite(values).all()
        alone = nd.BatchStats(*(s[1:2].copy() for s in stats[:3]), stats[3])
        one = nd.batch_norm_backward(
            grad[:, 1:2].copy(), x[:, 1:2].copy(), alone, np.ones(1), frozen=frozen
        )
        np.testing.assert_allclose(got.x[:, 1:2], one.x, rtol=1e-12, atol=1e-300)
