"""The reference against finite differences, answers known by hand and identities."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest

from cases import BATCH_NORM_CASES, LAYER_NORM_CASES, axis_shape, normal, parameter
from normdrop import reference
from tolerances import (
    FINITE_DIFFERENCE_RELATIVE,
    FINITE_DIFFERENCE_STEP,
    HAND_KNOWN_RELATIVE,
    KEEP_RATE_DEVIATIONS,
)

EPS_VALUES = [1e-12, 1e-5, 0.1, 1.0]


def numeric_gradient(function, point, grad_output):
    """Central differences of sum(grad_output * function(point)), element by element."""
    result = np.empty(point.shape)
    for index in np.ndindex(point.shape):
        moved = [point.copy(), point.copy()]
        moved[0][index] += FINITE_DIFFERENCE_STEP
        moved[1][index] -= FINITE_DIFFERENCE_STEP
        up, down = (function(value) for value in moved)
        result[index] = (grad_output * (up - down)).sum() / (2 * FINITE_DIFFERENCE_STEP)
    return result


def assert_gradient(got, expected):
    largest = max(np.abs(expected).max(), 1e-3)
    assert np.abs(got - expected).max() <= FINITE_DIFFERENCE_RELATIVE * largest


SMALL_LAYER_NORMS = [((3, 5), -1), ((2, 3, 5), 1), ((2, 5, 3), (1, 2)), ((3, 2), -1)]


@pytest.mark.parametrize("eps", EPS_VALUES)
@pytest.mark.parametrize(("shape", "axis"), SMALL_LAYER_NORMS)
def test_layer_norm_gradients_are_finite_differences(shape, axis, eps):
    """Also catches eps missing from the backward and weight applied twice (E7, A17)."""
    if shape == (3, 2) and eps < 0.1:
        pytest.skip("two values and a small eps: the gradient vanishes, see the test of that")
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    weight = parameter(axis_shape(shape, axis), np.float64, "weight")
    bias = parameter(axis_shape(shape, axis), np.float64, "bias")
    _, stats = reference.layer_norm_forward(x, weight, bias, axis=axis, eps=eps)
    got = reference.layer_norm_backward(grad, x, stats, weight, axis=axis)

    def of_x(value):
        return reference.layer_norm(value, weight, bias, axis=axis, eps=eps)

    def of_weight(value):
        return reference.layer_norm(x, value, bias, axis=axis, eps=eps)

    def of_bias(value):
        return reference.layer_norm(x, weight, value, axis=axis, eps=eps)

    assert_gradient(got.x, numeric_gradient(of_x, x, grad))
    assert_gradient(got.weight, numeric_gradient(of_weight, weight, grad))
    assert_gradient(got.bias, numeric_gradient(of_bias, bias, grad))


@pytest.mark.parametrize("eps", EPS_VALUES)
@pytest.mark.parametrize(("shape", "axis"), [((5, 3), 1), ((3, 2, 5), 1), ((3, 5, 2), -1)])
def test_batch_norm_gradients_are_finite_differences(shape, axis, eps):
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    channels = (shape[axis],)
    weight = parameter(channels, np.float64, "weight")
    bias = parameter(channels, np.float64, "bias")
    options = {"channel_axis": axis, "eps": eps}
    _, stats = reference.batch_norm_forward(x, weight, bias, **options)
    got = reference.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)

    def of_x(value):
        return reference.batch_norm_forward(value, weight, bias, **options)[0]

    def of_weight(value):
        return reference.batch_norm_forward(x, value, bias, **options)[0]

    def of_bias(value):
        return reference.batch_norm_forward(x, weight, value, **options)[0]

    assert_gradient(got.x, numeric_gradient(of_x, x, grad))
    assert_gradient(got.weight, numeric_gradient(of_weight, weight, grad))
    assert_gradient(got.bias, numeric_gradient(of_bias, bias, grad))


def test_frozen_batch_norm_gradients_are_finite_differences_of_inference():
    """The backward of the inference form has no mean terms (G12)."""
    x, grad = normal((5, 3), np.float64, "x"), normal((5, 3), np.float64, "grad")
    weight, bias = parameter((3,), np.float64, "weight"), parameter((3,), np.float64, "bias")
    mean, var = normal((3,), np.float64, "mean"), normal((3,), np.float64, "var") ** 2 + 0.5
    stats = reference.batch_norm_forward(x)[1]._replace(
        mean=mean, var=var, inv_std=1 / np.sqrt(var + 0.1)
    )
    got = reference.batch_norm_backward(grad, x, stats, weight, frozen=True)

    def of_x(value):
        return reference.batch_norm(value, mean, var, weight, bias, eps=0.1)

    def of_weight(value):
        return reference.batch_norm(x, mean, var, value, bias, eps=0.1)

    assert_gradient(got.x, numeric_gradient(of_x, x, grad))
    assert_gradient(got.weight, numeric_gradient(of_weight, weight, grad))
    assert_gradient(got.bias, grad.sum(0))


@pytest.mark.parametrize("eps", EPS_VALUES)
@pytest.mark.parametrize(("shape", "axis"), [((3, 5), -1), ((2, 3, 5), 1), ((2, 5, 3), (1, 2))])
def test_rms_norm_gradients_are_finite_differences(shape, axis, eps):
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    weight = parameter(axis_shape(shape, axis), np.float64, "weight")
    bias = parameter(axis_shape(shape, axis), np.float64, "bias")
    _, stats = reference.rms_norm_forward(x, weight, bias, axis=axis, eps=eps)
    got = reference.rms_norm_backward(grad, x, stats, weight, axis=axis)
    call = partial(reference.rms_norm, axis=axis, eps=eps)
    assert_gradients(got, call, (x, weight, bias), grad)


GROUPS = [((2, 6), 1, 2), ((2, 4, 3), 1, 2), ((2, 3, 4), -1, 2), ((2, 2, 4, 3), 2, 2)]


@pytest.mark.parametrize("eps", EPS_VALUES)
@pytest.mark.parametrize(("shape", "axis", "groups"), GROUPS)
def test_group_norm_gradients_are_finite_differences(shape, axis, groups, eps):
    """Its means mix channels of different weights."""
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    weight, bias = (parameter((shape[axis],), np.float64, name) for name in ("weight", "bias"))
    _, stats = reference.group_norm_forward(x, groups, weight, bias, channel_axis=axis, eps=eps)
    got = reference.group_norm_backward(grad, x, stats, groups, weight, channel_axis=axis)

    def call(x, weight, bias):
        return reference.group_norm(x, groups, weight, bias, channel_axis=axis, eps=eps)

    assert_gradients(got, call, (x, weight, bias), grad)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 5), 1), ((2, 5, 3), -1)])
def test_instance_norm_gradients_are_finite_differences(shape, axis):
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    weight, bias = (parameter((3,), np.float64, name) for name in ("weight", "bias"))
    _, stats = reference.instance_norm_forward(x, weight, bias, channel_axis=axis, eps=0.1)
    got = reference.instance_norm_backward(grad, x, stats, weight, channel_axis=axis)
    call = partial(reference.instance_norm, channel_axis=axis, eps=0.1)
    assert_gradients(got, call, (x, weight, bias), grad)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_fused_gradients_are_finite_differences(kind, p):
    """Of both outputs at once."""
    x, residual, grad_y, grad_sum = (
        normal((3, 5), np.float64, name) for name in ("x", "residual", "grad_y", "grad_sum")
    )
    weight, bias = (parameter((5,), np.float64, name) for name in ("weight", "bias"))
    forward = getattr(reference, f"dropout_add_{kind}_norm_forward")
    backward = getattr(reference, f"dropout_add_{kind}_norm_backward")

    def call(*arrays):
        fused = forward(*arrays, p=p, rng=(3, 4), eps=0.1)
        return np.stack([fused.y, fused.sum])

    arrays = x, residual, weight, bias
    fused = forward(*arrays, p=p, rng=(3, 4), eps=0.1)
    got = backward(grad_y, fused, weight, grad_sum=grad_sum)
    assert_gradients(got, call, arrays, np.stack([grad_y, grad_sum]))
    assert backward(grad_y, fused).weight is None
    assert backward(grad_y, fused, bias=False).bias is None


@pytest.mark.parametrize(("shape", "axis"), [((3, 5), 0), ((3, 5), 1), ((2, 3, 5), 1), ((5,), 0)])
def test_weight_norm_gradients_are_finite_differences(shape, axis):
    v, grad = normal(shape, np.float64, "v"), normal(shape, np.float64, "grad")
    g = parameter((shape[axis],), np.float64, "g")
    _, norm = reference.weight_norm_forward(v, g, axis=axis)
    got = reference.weight_norm_backward(grad, v, g, norm, axis=axis)
    call = partial(reference.weight_norm, axis=axis)
    for left, right in zip(got, numeric_gradients(call, (v, g), grad), strict=True):
        # Units of one element have a gradient of 0, which differences give up to their noise.
        scale = max(np.abs(right).max(), 1.0)
        assert np.abs(left - right).max() <= FINITE_DIFFERENCE_RELATIVE * scale


@pytest.mark.parametrize("count", [1, 3])
def test_prelu_gradients_are_finite_differences(count):
    x, grad = normal((5, 3, 2), np.float64, "x"), normal((5, 3, 2), np.float64, "grad")
    weight = parameter((count,), np.float64, "weight")
    got = reference.prelu_backward(grad, x, weight)
    assert_gradients(got[:2], reference.prelu, (x, weight), grad)
    assert got.bias is None and got.weight.shape == (count,)


def numeric_gradients(call, arrays, grad):
    """Of every argument of a call while the others stay."""
    for place in range(len(arrays)):

        def of_one(value, place=place):
            return call(*(value if i == place else array for i, array in enumerate(arrays)))

        yield numeric_gradient(of_one, arrays[place], grad)


def assert_gradients(got, call, arrays, grad):
    for left, right in zip(got, numeric_gradients(call, arrays, grad), strict=True):
        assert left.shape == right.shape
        assert_gradient(left, right)


def test_known_answers_of_the_family():
    """By hand: a mean square of 9, groups of a pair, a direction 3-4-5, a slope."""
    x = np.array([[1.0, -1.0, 5.0, 3.0]])
    assert np.allclose(reference.rms_norm(x, eps=0.0), x / 3.0, rtol=1e-15)
    y, stats = reference.group_norm_forward(x, 2, eps=0.0)
    assert y.tolist() == [[1.0, -1.0, 1.0, -1.0]]
    assert stats.mean.tolist() == [[0.0, 4.0]] and stats.inv_std.tolist() == [[1.0, 1.0]]
    w, norm = reference.weight_norm_forward(np.array([[3.0, 4.0]]), np.array([10.0]))
    assert w.tolist() == [[6.0, 8.0]] and norm.tolist() == [5.0]
    assert reference.prelu(x, np.array([0.25])).tolist() == [[1.0, -0.25, 5.0, 3.0]]
    assert not reference.weight_norm(np.zeros((2, 3)), np.ones(2)).any()
    fused = reference.dropout_add_rms_norm_forward(x, np.zeros((1, 4)), p=0.0, eps=0.0)
    assert fused.sum.tolist() == x.tolist() and np.allclose(fused.y, x / 3.0, rtol=1e-15)


@pytest.mark.parametrize(
    ("groups", "axis", "message"),
    [(0, 1, "num_groups must divide the 6"), (4, 1, "divide the 6"), (-1, 1, "divide the 6"),
     (2, 0, "channel_axis must not be 0"), (2, -2, "channel_axis must not be 0")],
)  # fmt: skip
def test_groups_that_do_not_divide_are_refused(groups, axis, message):
    with pytest.raises(ValueError, match=f"group_norm: .*{message}"):
        reference.group_norm(np.zeros((2, 6)), groups, channel_axis=axis)


@pytest.mark.parametrize(("shape", "axis"), LAYER_NORM_CASES)
def test_centred_norm_has_mean_0_and_variance_below_1(shape, axis):
    x = normal(shape, np.float64, "x") * 3 + 2
    y, stats = reference.layer_norm_forward(x, axis=axis, eps=0.1)
    axes = axis if isinstance(axis, tuple) else (axis,)
    var = x.var(axis=axes)
    assert np.allclose(y.mean(axis=axes), 0, atol=1e-13)
    assert np.allclose((y**2).mean(axis=axes), var / (var + 0.1), atol=1e-12)
    assert stats.mean.shape == y.mean(axis=axes).shape


@pytest.mark.parametrize(("shape", "axis"), BATCH_NORM_CASES)
def test_gradient_of_a_centred_norm_sums_to_0(shape, axis):
    x, grad = normal(shape, np.float64, "x"), normal(shape, np.float64, "grad")
    weight = parameter((shape[axis],), np.float64, "weight")
    _, stats = reference.batch_norm_forward(x, weight, channel_axis=axis)
    gradients = reference.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
    others = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    assert np.allclose(gradients.x.sum(others), 0, atol=1e-8 * np.abs(gradients.x).max() + 1e-12)


def test_batch_norm_of_one_two_three_four():
    x = np.array([[1.0], [2.0], [3.0], [4.0]])
    y, stats = reference.batch_norm_forward(x, np.ones(1), np.zeros(1), eps=0.0)
    expected = np.array([[-1.3416408], [-0.4472136], [0.4472136], [1.3416408]])
    assert np.allclose(y, expected, rtol=HAND_KNOWN_RELATIVE)
    mean, var = np.zeros(1), np.ones(1)
    reference.update_running_stats(mean, var, stats, momentum=0.1)
    assert np.allclose(mean, 0.25) and np.allclose(var, 1.0666667, rtol=HAND_KNOWN_RELATIVE)


def test_correction_counts_every_value_of_an_image_channel():
    """The factor is m / (m - 1) with m = N * H * W (8 / 7 here), not with m = N (2 / 1)."""
    _, stats = reference.batch_norm_forward(np.arange(8.0).reshape(2, 1, 2, 2))
    assert (stats.count, stats.var[0]) == (8, 5.25)
    mean, var = np.zeros(1), np.zeros(1)
    reference.update_running_stats(mean, var, stats, momentum=1.0, correction=1)
    assert var[0] == 6.0
    reference.update_running_stats(mean, var, stats, momentum=1.0, correction=0)
    assert var[0] == 5.25


def test_running_statistics_follow_their_closed_form():
    """Constant batches: after t steps running = batch + (1 - momentum)**t * (start - batch)."""
    _, stats = reference.batch_norm_forward(normal((7, 3), np.float64, "x"))
    mean, var = np.full(3, 5.0), np.full(3, 9.0)
    for _ in range(11):
        reference.update_running_stats(mean, var, stats, momentum=0.25, correction=0)
    assert np.allclose(mean, stats.mean + 0.75**11 * (5.0 - stats.mean), rtol=1e-13)
    assert np.allclose(var, stats.var + 0.75**11 * (9.0 - stats.var), rtol=1e-13)


def test_weight_and_bias_of_the_statistics_restore_x():
    x = normal((7, 3), np.float64, "x") * 4 + 3
    _, stats = reference.batch_norm_forward(x, eps=0.1)
    y, _ = reference.batch_norm_forward(x, np.sqrt(stats.var + 0.1), stats.mean, eps=0.1)
    assert np.allclose(y, x, rtol=1e-14, atol=1e-14)


def test_two_values_per_channel_pass_no_gradient():
    x, grad = normal((2, 3), np.float64, "x"), normal((2, 3), np.float64, "grad")
    _, stats = reference.batch_norm_forward(x, eps=1e-12)
    gradients = reference.batch_norm_backward(grad, x, stats)
    assert np.abs(gradients.x).max() < 1e-6 * np.abs(grad).max()


def test_one_value_per_channel_is_refused_in_training_and_works_in_inference():
    x = normal((1, 3), np.float64, "x")
    with pytest.raises(ValueError, match=r"batch_norm_forward: x .*got 1"):
        reference.batch_norm_forward(x)
    assert reference.batch_norm(x, np.zeros(3), np.ones(3), eps=0.0).tolist() == x.tolist()


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 16777217.0, -100.0])
def test_constant_row_gives_exactly_the_bias(constant, eps):
    bias = parameter((13,), np.float64, "bias")
    y = reference.layer_norm(np.full((3, 13), constant), np.full(13, 7.0), bias, eps=eps)
    assert (y == bias).all()


def test_eps_0_and_constant_row_give_infinite_inv_std_and_nan_gradients():
    x = np.full((2, 5), 3.0)
    _, stats = reference.layer_norm_forward(x, eps=0.0)
    assert np.isinf(stats.inv_std).all()
    assert np.isnan(reference.layer_norm_backward(np.ones((2, 5)), x, stats).x).all()


# Philox and dropout ------------------------------------------------------------------------------


def test_dropout_moments():
    """Mean x and variance x**2 * p / (1 - p), keep rate within its binomial spread."""
    count, x = 200_003, 3.0
    for p in (0.1, 0.5, 0.9):
        y, mask = reference.dropout_forward(np.full(count, x), p, rng=(11, 3))
        spread = KEEP_RATE_DEVIATIONS * np.sqrt(p * (1 - p) / count)
        assert abs(mask.keep.mean() - (1 - p)) < spread
        assert abs(y.mean() - x) < spread * x / (1 - p)
        assert np.isclose(y.var(), x * x * p / (1 - p), rtol=0.02)


def test_dropout_at_0_and_1():
    x = np.array([1.0, -0.0, np.inf, np.nan, -np.inf])
    assert np.array_equal(reference.dropout(x, 0.0, rng=1), x, equal_nan=True)
    dropped = reference.dropout(x, 1.0, rng=1)
    assert dropped.tolist() == [0.0] * 5 and not np.signbit(dropped).any()
    assert reference.dropout(np.empty((0, 3)), 0.5, rng=1).shape == (0, 3)


def test_dropped_infinity_and_nan_become_0():
    """Selecting, not multiplying by the mask: inf * 0 is NaN."""
    for bad in (np.inf, np.nan):
        y, mask = reference.dropout_forward(np.full(101, bad), 0.5, rng=5)
        assert (y[~mask.keep] == 0).all() and not np.isfinite(y[mask.keep]).any()


def test_reference_words_of_any_range_are_a_part_of_the_stream():
    whole = reference.words_by_index(3, 4, 0, 101)
    for first in (0, 1, 2, 3, 4, 7, 50):
        assert (reference.words_by_index(3, 4, first, 51) == whole[first : first + 51]).all()


def test_original_dropout_at_test_time_is_inverted_dropout_scaled():
    """Original: y = q * x at test time; training differs from the inverted form by 1 / q."""
    x, p = normal((101,), np.float64, "x"), 0.25
    inverted, mask = reference.dropout_forward(x, p, rng=9)
    assert np.allclose(inverted * (1 - p), np.where(mask.keep, x, 0.0))


def test_reference_imports_nothing_compiled():
    """It is the definition: it must be able to disagree with the kernels."""
    modules = [m for name, m in sys.modules.items() if name.startswith("normdrop.reference")]
    compiled = sys.modules.get("normdrop._core")
    for module in modules:
        for value in vars(module).values():
            assert value is not compiled or compiled is None
            assert getattr(value, "__module__", "") != "normdrop._core"
