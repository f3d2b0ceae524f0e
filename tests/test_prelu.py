"""PReLU against its definition: every result is one rounding away, so most are exact."""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES, normal, parameter
from comparing import assert_same_bits, assert_within, close_to_framework
from normdrop import reference
from oracles import error_in_roundoffs, exact_dot
from tolerances import PRODUCT_SUMS

pytestmark = pytest.mark.usefixtures("backend")

CASES = [
    ((7, 5), 1),
    ((7, 5), 0),
    ((3, 5, 11), 1),
    ((3, 11, 5), -1),
    ((3, 5, 7, 11), 1),
    ((3, 7, 11, 5), -1),
    ((3, 7, 5, 11), 2),
    ((2, 3, 5, 7, 11), 1),
    ((1, 37, 13), 1),
    ((257, 3), 1),
    ((2, 131), 1),
    ((5, 17, 1009), 1),
    ((1009, 17), 1),
]


def case(shape, axis, dtype, weight_dtype=None, shared=False):
    x, grad = normal(shape, dtype, "x"), normal(shape, dtype, "grad")
    x.ravel()[:: max(x.size // 7, 1)] = 0
    size = 1 if shared else shape[axis]
    weight = parameter((size,), weight_dtype or dtype, "weight")
    if shared:
        weight[...] = 0.3
    return x, weight, grad


def check_prelu(x, weight, grad, axis=1):
    """y and the gradient of x are products rounded once; that of weight is a sum."""
    options = {"channel_axis": axis}
    y = nd.prelu(x, weight, **options)
    assert_same_bits(y, reference.prelu(x, weight, **options).astype(x.dtype))
    got = nd.prelu_backward(grad, x, weight, **options)
    want = reference.prelu_backward(grad, x, weight, **options)
    assert_same_bits(got.x, want.x.astype(x.dtype))
    assert got.bias is None
    assert got.weight.dtype == weight.dtype and got.weight.shape == weight.shape
    below = np.where(x > 0, np.zeros_like(x), x)
    shared = weight.size == 1
    parts = [
        array.reshape(1, -1) if shared else channels_of(array, axis) for array in (grad, below)
    ]
    for place, (gradients, values) in enumerate(zip(*parts, strict=True)):
        errors = error_in_roundoffs(got.weight[place : place + 1], exact_dot(gradients, values))
        assert_within(errors, PRODUCT_SUMS[weight.dtype.name], "grad weight")


def channels_of(array, axis):
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_every_shape_and_axis(shape, axis, shared, dtype, unchanged):
    """Sizes are distinct primes: a weight read along the wrong axis shows (D14, D15, D16)."""
    x, weight, grad = case(shape, axis, dtype, shared=shared)
    unchanged(x, weight, grad)
    check_prelu(x, weight, grad, axis)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("shared", [False, True])
def test_float32_weights_of_half_types(shared, dtype):
    for shape, axis in (((3, 5, 11), 1), ((3, 11, 5), -1)):
        check_prelu(*case(shape, axis, dtype, np.float32, shared), axis)


@pytest.mark.parametrize("shape", [(), (37,), (3, 5), (2, 3, 5, 7, 11, 13)])
def test_one_slope_serves_x_of_any_rank(shape, dtype):
    x, grad = (np.asarray(normal(shape, np.float64, name), dtype) for name in ("x", "grad"))
    weight = np.array([0.3], dtype)
    product = x.astype(np.float64) * float(weight[0])
    expected = np.asarray(np.where(x > 0, x.astype(np.float64), product), dtype)
    assert_same_bits(nd.prelu(x, weight), expected)
    assert nd.prelu_backward(grad, x, weight).weight.shape == (1,)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_length_around_the_vector_widths(channels_last, dtype):
    for length in [*range(1, 36), 63, 64, 65, 129]:
        shape, axis = ((2, 3, length), -1) if channels_last else ((2, 3, length), 1)
        check_prelu(*case(shape, axis, dtype), axis)


def test_shared_is_the_sum_of_channels():
    x, _, grad = case((3, 5, 7), 1, np.float64)
    one = nd.prelu_backward(grad, x, np.full(1, 0.3))
    each = nd.prelu_backward(grad, x, np.full(5, 0.3))
    assert_same_bits(one.x, each.x)
    assert np.allclose(one.weight[0], each.weight.sum(), rtol=1e-13)


def test_zero_takes_the_slope():
    """0 and -0 alike; the sign of the product is that of IEEE."""
    x = np.array([[0.0, -0.0, 1.0, -1.0]])
    y = nd.prelu(x, np.array([-0.5]))
    assert_same_bits(y, np.array([[-0.0, 0.0, 1.0, 0.5]]))
    got = nd.prelu_backward(np.ones_like(x), x, np.array([-0.5]))
    assert_same_bits(got.x, np.array([[-0.5, -0.5, 1.0, -0.5]]))
    assert got.weight.tolist() == [-1.0]


def test_slopes_0_and_1_are_relu_and_the_identity(dtype):
    x, _, _ = case((3, 5, 11), 1, dtype)
    assert (nd.prelu(x, np.zeros(5, dtype)) == np.maximum(x, 0)).all()
    assert_same_bits(nd.prelu(x, np.ones(5, dtype)), x)


def test_nan_and_infinity(dtype):
    """A NaN stays one (F11); infinities go their ways, and no other element changes."""
    x, weight, grad = case((3, 5, 11), 1, dtype)
    weight[...] = 0.5
    clean, clean_grad = nd.prelu(x, weight), nd.prelu_backward(grad, x, weight)
    x[1, 2, 3:6] = np.nan, np.inf, -np.inf
    y = nd.prelu(x, weight)
    assert np.isnan(y[1, 2, 3]) and y[1, 2, 4] == np.inf and y[1, 2, 5] == -np.inf
    y[1, 2, 3:6] = clean[1, 2, 3:6]
    assert_same_bits(y, clean)
    gradients = nd.prelu_backward(grad, x, weight)
    assert np.isnan(gradients.weight[2])
    others = np.delete(gradients.weight, 2)
    assert_same_bits(others, np.delete(clean_grad.weight, 2))


@pytest.mark.parametrize("shape", [(0, 5), (3, 5, 0), (3, 0), (0, 0)])
def test_empty_arrays(shape, dtype):
    for weight in (parameter((shape[1],), dtype, "weight"), np.ones(1, dtype)):
        x, grad = np.empty(shape, dtype), np.empty(shape, dtype)
        assert nd.prelu(x, weight).shape == shape
        gradients = nd.prelu_backward(grad, x, weight)
        assert gradients.x.shape == shape and gradients.weight.shape == weight.shape
        assert not gradients.weight.any()


def test_out_is_filled_and_returned_and_may_be_x(dtype):
    for shape, axis in (((3, 5, 11), 1), ((3, 11, 5), -1)):
        x, weight, _ = case(shape, axis, dtype)
        y = nd.prelu(x, weight, channel_axis=axis)
        for out in (np.full((*shape, 2), np.nan, dtype)[..., 0], np.full_like(x, np.nan)):
            assert nd.prelu(x, weight, channel_axis=axis, out=out) is out
            assert_same_bits(out.copy(), y)
        same = x.copy()
        assert nd.prelu(same, weight, channel_axis=axis, out=same) is same
        assert_same_bits(same, y)


@pytest.mark.parametrize("mutant", ["positive_at_0", "axis", "square"])
def test_wrong_results_are_rejected(mutant, dtype):
    x, weight, grad = case((5, 5, 5), 1, dtype)
    real = nd.prelu_backward

    def backward(grad, x, weight, *, channel_axis):
        if mutant == "axis":
            return real(grad, x, weight, channel_axis=2)
        got = real(grad, x, weight, channel_axis=channel_axis)
        if mutant == "positive_at_0":
            return got._replace(x=np.where(x == 0, grad, got.x))
        return got._replace(weight=(got.weight * weight).astype(dtype))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "prelu_backward", backward)
        with pytest.raises(AssertionError):
            check_prelu(x, weight, grad)


@pytest.mark.frameworks
@pytest.mark.parametrize("size", [1, 5])
def test_the_same_in_pytorch(size):
    torch = pytest.importorskip("torch")
    x, _, grad = case((3, 5, 7), 1, np.float32)
    weight = np.linspace(0.1, 0.6, size, dtype=np.float32)
    tx, tw = (torch.from_numpy(array.copy()).requires_grad_() for array in (x, weight))
    theirs = torch.nn.functional.prelu(tx, tw)
    theirs.backward(torch.from_numpy(grad))
    gradients = nd.prelu_backward(grad, x, weight)
    close_to_framework(nd.prelu(x, weight), theirs)
    close_to_framework(gradients.x, tx.grad)
    close_to_framework(gradients.weight, tw.grad)
