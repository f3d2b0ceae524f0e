"""Instance norm against the reference; that it is group norm of single channels is tested there."""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES, adversarial_rows, normal, parameter
from comparing import assert_same_bits, assert_within, close_to_framework
from norm_checks import check_group_norm
from normdrop import reference
from oracles import error_in_units, exact_normalise
from tolerances import limits

pytestmark = pytest.mark.usefixtures("backend")

CASES = [
    ((7, 5), 1),
    ((3, 5, 11), 1),
    ((3, 11, 5), -1),
    ((2, 3, 7, 11), 1),
    ((2, 7, 11, 3), -1),
    ((2, 7, 3, 11), 2),
    ((2, 3, 5, 7, 11), 1),
    ((1, 37, 13), 1),
    ((2, 1009, 19), -1),
    ((2, 19, 1009), 1),
]


def case(shape, axis, dtype, offset=0.0, parameter_dtype=None):
    channels = (shape[axis],)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(channels, parameter_dtype or dtype, "weight"),
        parameter(channels, parameter_dtype or dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_every_shape_and_axis(shape, axis, dtype, unchanged):
    x, weight, bias, grad = case(shape, axis, dtype, offset=0.5)
    unchanged(x, weight, bias, grad)
    check_group_norm(x, None, weight, bias, grad, channel_axis=axis)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_weight_and_bias_are_independent(eps, has_weight, has_bias, dtype):
    for shape, axis in (((3, 5, 11), 1), ((3, 11, 5), -1)):
        x, weight, bias, grad = case(shape, axis, dtype)
        weight, bias = weight if has_weight else None, bias if has_bias else None
        check_group_norm(x, None, weight, bias, grad, channel_axis=axis, eps=eps)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_float32_parameters_of_half_types(dtype):
    x, weight, bias, grad = case((3, 5, 11), 1, dtype, parameter_dtype=np.float32)
    check_group_norm(x, None, weight, bias, grad)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_length_around_the_vector_widths(channels_last, dtype):
    for length in [*range(1, 36), 63, 64, 65, 129]:
        for channels in (3, 17):
            shape = (2, length, channels) if channels_last else (2, channels, length)
            x, weight, bias, grad = case(shape, -1 if channels_last else 1, dtype)
            axis = -1 if channels_last else 1
            check_group_norm(x, None, weight, bias, grad, channel_axis=axis)


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_against_exact_answers(channels_last, dtype):
    for row in adversarial_rows(dtype, 769):
        x = normal((2, 3, 769), np.float64, "other").astype(dtype)
        x[1, 1] = row.values
        weight, bias = parameter((3,), dtype, "weight"), parameter((3,), dtype, "bias")
        exact, _ = exact_normalise(row.values, weight[1:2], bias[1:2], eps=row.eps)
        axis = -1 if channels_last else 1
        x = np.ascontiguousarray(np.moveaxis(x, 1, axis))
        y = nd.instance_norm(x, weight, bias, channel_axis=axis, eps=row.eps)
        got = np.moveaxis(y, axis, 1)[1, 1].copy()
        assert_within(error_in_units(got, exact), limits(dtype).forward, row.name)


def test_of_one_sample_it_is_batch_norm():
    x, weight, bias, grad = case((1, 5, 37), 1, np.float64)
    y, stats = nd.instance_norm_forward(x, weight, bias)
    expected, batch = nd.batch_norm_forward(x, weight, bias)
    assert np.allclose(y, expected, rtol=limits(np.float64).fence_relative, atol=1e-14)
    assert np.allclose(stats.mean[0], batch.mean, rtol=1e-14, atol=1e-15)
    got = nd.instance_norm_backward(grad, x, stats, weight)
    want = nd.batch_norm_backward(grad, x, batch, weight)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative, atol=1e-13)


def test_contrast_of_an_image_does_not_matter():
    """The reason for it: y is the same for a * x + b, whatever a > 0 and b of each channel."""
    x = normal((3, 5, 37), np.float64, "x")
    a = normal((3, 5, 1), np.float64, "a") ** 2 + 0.5
    b = normal((3, 5, 1), np.float64, "b")
    y = nd.instance_norm(a * x + b, eps=0.0)
    assert np.allclose(y, reference.instance_norm(x, eps=0.0), rtol=1e-10, atol=1e-12)


def test_plain_call_is_the_forward_without_statistics(dtype):
    x, weight, bias, grad = case((3, 5, 11), 1, dtype)
    y, stats = nd.instance_norm_forward(x, weight, bias)
    assert stats.mean.shape == stats.inv_std.shape == (3, 5)
    assert_same_bits(nd.instance_norm(x, weight, bias), y)
    with_bias = nd.instance_norm_backward(grad, x, stats, weight)
    without = nd.instance_norm_backward(grad, x, stats, weight, bias=False)
    assert without.bias is None
    assert_same_bits(without[:2], with_bias[:2])


@pytest.mark.parametrize(("shape", "axis"), [((0, 5, 3), 1), ((3, 5, 0), 1), ((3, 0, 5), -1),
                                             ((3, 0, 5), 1)])  # fmt: skip
def test_empty_arrays(shape, axis, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    y, stats = nd.instance_norm_forward(x, weight, bias, channel_axis=axis)
    assert y.shape == shape and stats.mean.shape == (shape[0], shape[axis])
    assert np.isnan(stats.mean).all() and np.isnan(stats.inv_std).all()
    gradients = nd.instance_norm_backward(grad, x, stats, weight, channel_axis=axis)
    assert gradients.x.shape == shape
    assert not gradients.weight.any() and not gradients.bias.any()


def test_out_is_filled_and_returned_and_may_be_an_input(dtype):
    for shape, axis in (((3, 5, 11), 1), ((3, 11, 5), -1)):
        x, weight, bias, grad = case(shape, axis, dtype)
        y, stats = nd.instance_norm_forward(x, weight, bias, channel_axis=axis)
        want = nd.instance_norm_backward(grad, x, stats, weight, channel_axis=axis)
        for out in (np.full((*shape, 2), np.nan, dtype)[..., 0], grad.copy()):
            assert nd.instance_norm(x, weight, bias, channel_axis=axis, out=out) is out
            assert_same_bits(out.copy(), y)
        same = x.copy()
        nd.instance_norm(same, weight, bias, channel_axis=axis, out=same)
        assert_same_bits(same, y)
        same = grad.copy()
        got = nd.instance_norm_backward(same, x, stats, weight, channel_axis=axis, out=same)
        assert_same_bits(got, want)


@pytest.mark.frameworks
@pytest.mark.parametrize("shape", [(3, 5, 11), (2, 5, 7, 11)])
def test_the_same_in_pytorch(shape):
    torch = pytest.importorskip("torch")
    x, weight, bias, grad = case(shape, 1, np.float32)
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight, bias)]
    theirs = torch.nn.functional.instance_norm(
        tensors[0], weight=tensors[1], bias=tensors[2], eps=0.01
    )
    theirs.backward(torch.from_numpy(grad))
    y, stats = nd.instance_norm_forward(x, weight, bias, eps=0.01)
    close_to_framework(y, theirs)
    for got, tensor in zip(nd.instance_norm_backward(grad, x, stats, weight), tensors, strict=True):
        close_to_framework(got, tensor.grad)
