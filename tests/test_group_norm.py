"""Group norm against the reference and exact answers: groups, channel axes, edges, ``out``."""

from __future__ import annotations

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import HALF_TYPES, adversarial_rows, constants, normal, parameter
from comparing import assert_same_bits, assert_within, close_to_framework, forward_units
from norm_checks import check_group_norm
from normdrop import reference
from normdrop.reference.group_norm import in_groups
from oracles import (
    error_in_roundoffs,
    error_in_units,
    exact_gradient,
    exact_normalise,
    exact_weight_gradient,
    statistics_units,
)
from tolerances import PERTURBATION, limits

pytestmark = pytest.mark.usefixtures("backend")

# (shape, channel_axis, num_groups): one group, several, one for each channel; before, between and
# behind other axes; groups shorter and longer than a vector and than a cache.
CASES = [
    ((5, 6), 1, 2),
    ((5, 6), -1, 3),
    ((7, 1), 1, 1),
    ((3, 6, 11), 1, 1),
    ((3, 6, 11), 1, 2),
    ((3, 6, 11), 1, 6),
    ((3, 11, 6), -1, 2),
    ((3, 11, 6), 2, 3),
    ((2, 15, 7, 11), 1, 3),
    ((2, 15, 7, 11), 1, 5),
    ((2, 7, 15, 11), 2, 5),
    ((2, 7, 11, 15), -1, 3),
    ((2, 7, 11, 34), -1, 2),
    ((2, 3, 10, 5, 7), 2, 5),
    ((1, 35, 13), 1, 7),
    ((131, 6, 3), 1, 2),
    ((2, 6, 1009), 1, 3),
    ((2, 1009, 6), -1, 3),
    ((2, 97, 64), -1, 4),
]
SOME = [((3, 6, 11), 1, 2), ((3, 11, 6), -1, 2), ((2, 7, 10, 11), 2, 5)]


def case(shape, axis, dtype, offset=0.0, parameter_dtype=None):
    channels = (shape[axis],)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(channels, parameter_dtype or dtype, "weight"),
        parameter(channels, parameter_dtype or dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


# Against the reference ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis", "groups"), CASES)
def test_every_shape_axis_and_number_of_groups(shape, axis, groups, dtype, unchanged):
    """Ranks 2 to 5 in the backward too (D11), the batch of one row, any channel axis (D19)."""
    x, weight, bias, grad = case(shape, axis, dtype, offset=0.5)
    unchanged(x, weight, bias, grad)
    check_group_norm(x, groups, weight, bias, grad, channel_axis=axis)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("shape", "axis", "groups"), SOME)
def test_weight_and_bias_are_independent(shape, axis, groups, has_weight, has_bias, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    weight, bias = weight if has_weight else None, bias if has_bias else None
    check_group_norm(x, groups, weight, bias, grad, channel_axis=axis)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize(("shape", "axis", "groups"), SOME)
def test_float32_parameters_of_half_types(shape, axis, groups, dtype):
    x, weight, bias, grad = case(shape, axis, dtype, parameter_dtype=np.float32)
    check_group_norm(x, groups, weight, bias, grad, channel_axis=axis)


@pytest.mark.parametrize("eps", [1e-12, 0.1, 1.0, 1e4])
def test_eps_stands_inside_the_root_once(eps, dtype):
    for shape, axis, groups in SOME:
        x, weight, bias, grad = case(shape, axis, dtype)
        check_group_norm(x, groups, weight, bias, grad, channel_axis=axis, eps=eps)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_length_around_the_vector_widths(channels_last, dtype):
    """A vector tail that is skipped, or runs into the next channel or group (D1, D2)."""
    for length in [*range(1, 36), 63, 64, 65, 127, 129]:
        shape = (2, length, 6) if channels_last else (2, 6, length)
        x, weight, bias, grad = case(shape, -1 if channels_last else 1, dtype)
        check_group_norm(x, 2, weight, bias, grad, channel_axis=-1 if channels_last else 1)
    for channels in range(1, 36):
        shape = (2, 3, 2 * channels) if channels_last else (2, 2 * channels, 3)
        x, weight, bias, grad = case(shape, -1 if channels_last else 1, dtype)
        check_group_norm(x, 2, weight, bias, grad, channel_axis=-1 if channels_last else 1)


def test_many_samples_and_many_groups():
    """Launch limits and 16-bit counters (C6, C10)."""
    for shape, groups in (((65_537, 4), 2), ((2, 70_002, 3), 35_001)):
        x, weight, bias, grad = case(shape, 1, np.float32)
        check_group_norm(x, groups, weight, bias, grad)


def test_groups_longer_than_any_cache_block():
    for shape, axis in (((2, 6, 50_021), 1), ((2, 50_021, 6), -1)):
        x, weight, bias, grad = case(shape, axis, np.float32, offset=10.0)
        check_group_norm(x, 2, weight, bias, grad, channel_axis=axis)


# Identities --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((3, 6, 11), 1), ((3, 11, 6), -1)])
def test_one_group_is_a_layer_norm_of_each_sample(shape, axis, dtype):
    x, _, _, grad = case(shape, axis, dtype)
    y, stats = nd.group_norm_forward(x, 1, channel_axis=axis)
    expected = reference.layer_norm(x, axis=(1, 2))
    assert_within(forward_units(y, expected, expected, 1.0), limits(dtype).reference)
    own = nd.layer_norm_forward(x, axis=(1, 2))[1]
    assert np.allclose(stats.inv_std[:, 0], own.inv_std, rtol=1e-14)
    got = nd.group_norm_backward(grad, x, stats, 1, channel_axis=axis).x
    assert np.allclose(
        got.astype(np.float64), nd.layer_norm_backward(grad, x, own, axis=(1, 2)).x,
        rtol=limits(dtype).fence_relative, atol=limits(dtype).fence_relative,
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "axis"), [((3, 6, 11), 1), ((3, 11, 6), -1), ((3, 6), 1)])
def test_as_many_groups_as_channels_are_instance_norm(shape, axis, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    groups, options = shape[axis], {"channel_axis": axis}
    y, stats = nd.group_norm_forward(x, groups, weight, bias, **options)
    assert_same_bits((y, stats), nd.instance_norm_forward(x, weight, bias, **options))
    assert_same_bits(
        nd.group_norm_backward(grad, x, stats, groups, weight, **options),
        nd.instance_norm_backward(grad, x, stats, weight, **options),
    )


def test_plain_call_is_the_forward_without_statistics(dtype):
    for shape, axis, groups in SOME:
        x, weight, bias, _ = case(shape, axis, dtype)
        y, _ = nd.group_norm_forward(x, groups, weight, bias, channel_axis=axis)
        assert_same_bits(nd.group_norm(x, groups, weight, bias, channel_axis=axis), y)


def test_num_groups_may_be_an_integer_of_numpy():
    x = normal((3, 6), np.float32, "x")
    assert_same_bits(nd.group_norm(x, np.int8(3)), nd.group_norm(x, 3))


def test_backward_uses_the_statistics_as_passed():
    x, weight, _, grad = case((3, 6, 11), 1, np.float64)
    mean, inv_std = normal((3, 2), np.float64, "mean"), normal((3, 2), np.float64, "s") ** 2 + 0.5
    stats = nd.NormStats(mean, inv_std)
    got = nd.group_norm_backward(grad, x, stats, 2, weight)
    want = reference.group_norm_backward(grad, x, stats, 2, weight)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative)


def test_bias_false_leaves_its_gradient_out(dtype):
    x, weight, _, grad = case((3, 6, 11), 1, dtype)
    _, stats = nd.group_norm_forward(x, 2, weight)
    with_bias = nd.group_norm_backward(grad, x, stats, 2, weight)
    without = nd.group_norm_backward(grad, x, stats, 2, weight, bias=False)
    assert without.bias is None and with_bias.bias is not None
    assert_same_bits(without[:2], with_bias[:2])
    assert nd.group_norm_backward(grad, x, stats, 2).weight is None


# Against exact answers ---------------------------------------------------------------------------


def as_group(values, channels_last):
    """x with the values as group 1 of 3 of sample 1; the group has 2 channels."""
    other = normal((2, 6, values.size // 2), np.float64, "other").astype(values.dtype)
    other[1, 2:4] = values.reshape(2, -1)
    if not channels_last:
        return other, 1, values
    return np.ascontiguousarray(np.moveaxis(other, 1, -1)), -1, values


@pytest.mark.parametrize("channels_last", [False, True])
def test_groups_against_exact_answers(channels_last, dtype):
    """Offsets, outliers and ranges that broke other packages, with a weight for each channel."""
    for row in adversarial_rows(dtype, 770):
        x, axis, values = as_group(row.values, channels_last)
        weight, bias = parameter((6,), dtype, "weight"), parameter((6,), dtype, "bias")
        each = np.repeat(weight[2:4], 385), np.repeat(bias[2:4], 385)
        exact, statistics = exact_normalise(values, *each, eps=row.eps)
        y, stats = nd.group_norm_forward(x, 3, weight, bias, channel_axis=axis, eps=row.eps)
        got = np.moveaxis(y, axis, 1)[1, 2:4].ravel()
        assert_within(error_in_units(got, exact), limits(dtype).forward, row.name)
        units = statistics_units(float(stats.inv_std[1, 1]), statistics.inv_std)
        assert_within(units, limits(dtype).inv_std, row.name)
        size = np.abs(values.astype(np.float64))
        largest = size.max()
        mean_size = float(np.mean(size / largest) * largest) if largest else 0.0
        units = statistics_units(float(stats.mean[1, 1]), statistics.mean, mean_size)
        assert_within(units, limits(dtype).mean, row.name)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_gradients_against_exact_answers(channels_last, offset, dtype):
    """The means of a group are those of grad_output * weight, not of grad_output."""
    shape, axis = ((3, 22, 6), -1) if channels_last else ((3, 6, 22), 1)
    x, weight, _, grad = case(shape, axis, dtype, offset)
    _, stats = nd.group_norm_forward(x, 3, channel_axis=axis)
    got = nd.group_norm_backward(grad, x, stats, 3, weight, channel_axis=axis)
    x, grad, of_x = (np.moveaxis(array, axis, 1) for array in (x, grad, got.x))
    for sample in range(3):
        for group in range(3):
            part = (sample, slice(2 * group, 2 * group + 2))
            mean, inv_std = (float(value[sample, group]) for value in stats)
            each = np.repeat(weight[part[1]], 22)
            exact = exact_gradient(grad[part].ravel(), x[part].ravel(), mean, inv_std, each)
            errors = error_in_roundoffs(of_x[part].ravel(), exact)
            assert_within(errors, limits(dtype).gradient, "grad x")
    for channel in range(6):
        mean, inv_std = (value[:, channel // 2][:, None] for value in stats)
        exact = exact_weight_gradient(grad[:, channel], x[:, channel], mean, inv_std)
        errors = error_in_roundoffs(got.weight[channel : channel + 1], exact)
        assert_within(errors, limits(dtype).parameter_gradient, "grad weight")


# Edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis", "groups"), [
    ((0, 6), 1, 2), ((0, 6, 5), 1, 3), ((3, 6, 0), 1, 2), ((3, 0, 6), -1, 2), ((0, 6, 0), 1, 2),
])  # fmt: skip
def test_empty_arrays(shape, axis, groups, dtype):
    """No samples, or samples without elements: a division by 0 used to crash (F1, F4)."""
    x, weight, bias, grad = case(shape, axis, dtype)
    y, stats = nd.group_norm_forward(x, groups, weight, bias, channel_axis=axis)
    assert y.shape == shape and y.dtype == dtype
    assert stats.mean.shape == stats.inv_std.shape == (shape[0], groups)
    assert np.isnan(stats.mean).all() and np.isnan(stats.inv_std).all()
    gradients = nd.group_norm_backward(grad, x, stats, groups, weight, channel_axis=axis)
    assert gradients.x.shape == shape
    for gradient in (gradients.weight, gradients.bias):
        assert gradient.shape == (6,) and gradient.dtype == dtype and not gradient.any()


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("channels_last", [False, True])
def test_constant_groups_give_exactly_the_bias(channels_last, eps, dtype):
    """A rounded mean leaves something that 1 / sqrt(eps) blows up (A4, A5)."""
    values = constants(dtype)
    for length in (1, 7, 37):
        x = np.broadcast_to(np.repeat(values, 2)[:, None], (2, 2 * values.size, length))
        x = np.moveaxis(x, 1, -1 if channels_last else 1).copy()
        bias = parameter((2 * values.size,), dtype, "bias")
        axis = -1 if channels_last else 1
        y, stats = nd.group_norm_forward(x, values.size, bias * 3, bias, channel_axis=axis, eps=eps)
        shaped = bias if channels_last else bias[:, None]
        assert_same_bits(y, np.broadcast_to(shaped, x.shape) + 0)
        assert_same_bits(stats.mean[1] + 0.0, values.astype(np.float64) + 0.0)


def test_one_element_is_the_bias_and_has_no_gradient(dtype):
    """Neither an error that depends on the batch nor NaN (F7)."""
    x, weight, bias, grad = case((3, 5), 1, dtype)
    y, stats = nd.group_norm_forward(x, 5, weight, bias)
    assert_same_bits(y, np.broadcast_to(bias, x.shape) + 0)
    gradients = nd.group_norm_backward(grad, x, stats, 5, weight)
    roundoff = finfo(dtype).eps / 2 * 2 * np.abs(grad * weight).astype(np.float64) * stats.inv_std
    assert (np.abs(gradients.x) <= limits(dtype).gradient * roundoff).all()
    assert not gradients.weight.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("shape", "axis", "groups"), SOME)
def test_nan_and_infinity_spoil_their_own_group_only(shape, axis, groups, bad, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    _, stats = nd.group_norm_forward(x, groups, weight, bias, channel_axis=axis)
    clean = nd.group_norm(x, groups, weight, bias, channel_axis=axis)
    clean_grad = nd.group_norm_backward(grad, x, stats, groups, weight, channel_axis=axis).x
    np.moveaxis(x, axis, 1)[1, 0].ravel()[...] = x.dtype.type(0)
    moved = np.moveaxis(x, axis, 1)
    moved[(1, 0, *(0,) * (x.ndim - 2))] = bad
    y, spoilt = nd.group_norm_forward(x, groups, weight, bias, channel_axis=axis)
    grad_x = nd.group_norm_backward(grad, x, spoilt, groups, weight, channel_axis=axis).x
    for after, before in ((y, clean), (grad_x, clean_grad)):
        after, before = (np.moveaxis(array, axis, 1).copy() for array in (after, before))
        own = (1, slice(0, shape[axis] // groups))
        assert np.isnan(after[own]).all()
        after[own] = before[own]
        assert_same_bits(after, before)
    assert np.isnan(spoilt.inv_std[1, 0]) and np.isnan(spoilt.inv_std).sum() == 1


# out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis", "groups"), SOME)
def test_out_is_filled_and_returned_and_may_be_an_input(shape, axis, groups, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    options = {"channel_axis": axis}
    y, stats = nd.group_norm_forward(x, groups, weight, bias, **options)
    gradients = nd.group_norm_backward(grad, x, stats, groups, weight, **options)
    for out in (np.full_like(x, np.nan), np.full((*shape, 2), np.nan, dtype)[..., 0],
                np.full(shape[::-1], np.nan, dtype).T, x.copy()):  # fmt: skip
        assert nd.group_norm(x, groups, weight, bias, out=out, **options) is out
        assert_same_bits(out.copy(), y)
        result = nd.group_norm_backward(grad, x, stats, groups, weight, out=out, **options)
        assert result.x is out
        assert_same_bits((out.copy(), *result[1:]), tuple(gradients))
    same = grad.copy()
    result = nd.group_norm_backward(same, x, stats, groups, weight, out=same, **options)
    assert_same_bits(result, gradients)
    same = x.copy()
    result = nd.group_norm_forward(same, groups, weight, bias, out=same, **options)
    assert_same_bits(result, (y, stats))


# The comparison itself ---------------------------------------------------------------------------


def test_a_perturbed_result_is_rejected(dtype):
    x, weight, bias, _ = case((3, 6, 11), 1, dtype)
    y, expected = nd.group_norm(x, 2, weight, bias), reference.group_norm(x, 2, weight, bias)
    plain, limit = reference.group_norm(x, 2, weight), limits(dtype).reference
    assert forward_units(y, expected, plain).max() <= limit
    perturbed = y.copy()
    perturbed[2, 2, 5] *= 1 + PERTURBATION * limit * finfo(dtype).eps
    assert forward_units(perturbed, expected, plain).max() > limit


@pytest.mark.parametrize("mutant", ["weight_after_means", "groups_by_turns", "no_product"])
def test_wrong_gradients_are_rejected(mutant, dtype):
    """Means before the product with weight; channels c % groups; a missing term."""
    x, weight, _, grad = case((3, 6, 11), 1, dtype)
    _, stats = nd.group_norm_forward(x, 2)
    order = np.argsort(np.arange(6) % 2, kind="stable")

    def wrong_gradient():
        if mutant == "weight_after_means":
            plain = reference.group_norm_backward(grad, x, stats, 2).x
            return plain * weight.astype(np.float64)[:, None]
        if mutant == "groups_by_turns":
            turned = reference.group_norm_backward(
                grad[:, order], x[:, order], stats, 2, weight[order]
            ).x
            return turned[:, np.argsort(order)]
        g = in_groups(grad * weight[:, None], 2, 1)
        centred = (g - g.mean((2, 3), keepdims=True)) * stats.inv_std[:, :, None, None]
        return centred.reshape(x.shape)

    wrong = wrong_gradient().astype(dtype)

    def backward(*args, **options):
        return real(*args, **options)._replace(x=wrong)

    real = nd.group_norm_backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "group_norm_backward", backward)
        with pytest.raises(AssertionError, match="grad x"):
            check_group_norm(x, 2, weight, None, grad)


# PyTorch -----------------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.parametrize(("shape", "groups"), [((5, 6), 2), ((3, 6, 11), 3), ((2, 6, 5, 7), 6)])
def test_the_same_in_pytorch(shape, groups):
    torch = pytest.importorskip("torch")
    x, weight, bias, grad = case(shape, 1, np.float32)
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight, bias)]
    theirs = torch.nn.functional.group_norm(tensors[0], groups, *tensors[1:], eps=0.01)
    theirs.backward(torch.from_numpy(grad))
    y, stats = nd.group_norm_forward(x, groups, weight, bias, eps=0.01)
    close_to_framework(y, theirs)
    gradients = nd.group_norm_backward(grad, x, stats, groups, weight)
    for got, tensor in zip(gradients, tensors, strict=True):
        close_to_framework(got, tensor.grad)
