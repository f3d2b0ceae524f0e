"""Layer norm against the reference: shapes, axes, parameters, edges and ``out``."""

from __future__ import annotations

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import LAYER_NORM_CASES, axis_shape, constants, normal, parameter
from comparing import assert_same_bits, assert_within, check_layer_norm, forward_units
from normdrop import reference
from tolerances import ONE_ROUNDING, PERTURBATION, limits

pytestmark = pytest.mark.usefixtures("backend")


def case(shape, axis, dtype, offset=0.0):
    sizes = axis_shape(shape, axis)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(sizes, dtype, "weight"),
        parameter(sizes, dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


@pytest.mark.parametrize(("shape", "axis"), LAYER_NORM_CASES)
def test_every_shape_and_axis(shape, axis, dtype, unchanged):
    """Ranks above 2 in the backward too (D13), one row (H9), negative axes (D19)."""
    arrays = case(shape, axis, dtype, offset=0.5)
    unchanged(*arrays)
    check_layer_norm(*arrays, axis=axis)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5, 37), -1), ((3, 7, 5), 1), ((3, 5, 7), (1, 2))])
def test_weight_and_bias_are_independent(shape, axis, has_weight, has_bias, dtype):
    """Only one of the two used to be wrong, missing or a crash elsewhere (E1, E2, E3)."""
    x, weight, bias, grad = case(shape, axis, dtype)
    check_layer_norm(x, weight if has_weight else None, bias if has_bias else None, grad, axis=axis)


@pytest.mark.parametrize("eps", [1e-12, 0.1, 1.0, 1e4])
def test_eps_stands_inside_the_root_once(eps, dtype):
    """A default eps hides it when it is added outside, twice or not in the backward (A17, G8)."""
    check_layer_norm(*case((7, 13), -1, dtype), eps=eps)


@pytest.mark.parametrize("shape_of", [lambda n: (3, n), lambda n: (2, n, 3)])
def test_every_length_around_the_vector_widths(shape_of, dtype):
    """A vector tail that is skipped, or runs into the next row (D1, D2)."""
    for length in [*range(1, 131), 255, 256, 257, 1023, 1025]:
        x, weight, bias, grad = case(shape_of(length), 1, dtype)
        check_layer_norm(x, weight, bias, grad, axis=1)


@pytest.mark.parametrize("rows", [65535, 65536, 65537])
def test_numbers_of_rows_around_65536(rows):
    """Launch limits and 16-bit counters (C6)."""
    check_layer_norm(*case((rows, 3), -1, np.float32))


def test_long_channels_first_rows(dtype):
    check_layer_norm(*case((2, 1009, 67), 1, dtype, offset=3.0), axis=1)
    check_layer_norm(*case((1009, 67), 0, dtype, offset=3.0), axis=0)


def test_rows_longer_than_any_cache_block():
    check_layer_norm(*case((2, 300_007), -1, np.float32, offset=10.0))


@pytest.mark.parametrize(
    ("first", "second"), [(-1, 2), (1, -2), ((1, 2), (2, 1)), ((1, 2), (-1, -2)), (0, (0,))]
)
def test_ways_to_name_the_same_axis(first, second):
    x = normal((3, 5, 7), np.float32, "x")
    weight = parameter(axis_shape(x.shape, first), np.float32, "weight")
    got = nd.layer_norm_forward(x, weight, axis=first)
    assert_same_bits(got, nd.layer_norm_forward(x, weight, axis=second))


def test_plain_call_is_the_forward_without_statistics(dtype):
    x, weight, bias, _ = case((5, 37), -1, dtype)
    y, _ = nd.layer_norm_forward(x, weight, bias)
    assert_same_bits(nd.layer_norm(x, weight, bias), y)


def test_bias_false_leaves_its_gradient_out(dtype):
    x, weight, _, grad = case((5, 37), -1, dtype)
    _, stats = nd.layer_norm_forward(x, weight)
    with_bias = nd.layer_norm_backward(grad, x, stats, weight)
    without = nd.layer_norm_backward(grad, x, stats, weight, bias=False)
    assert without.bias is None and with_bias.bias is not None
    assert_same_bits(without[:2], with_bias[:2])
    assert nd.layer_norm_backward(grad, x, stats).weight is None


def test_backward_uses_the_statistics_as_passed():
    """Not recomputed, not those of the last forward."""
    x, weight, _, grad = case((5, 37), -1, np.float64)
    stats = nd.NormStats(np.linspace(-1, 1, 5), np.linspace(0.5, 2, 5))
    got = nd.layer_norm_backward(grad, x, stats, weight)
    want = reference.layer_norm_backward(grad, x, stats, weight)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative)


# Edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0,), (3, 0), (0, 0), (2, 3, 0)])
@pytest.mark.parametrize("axis", [0, -1])
def test_empty_arrays(shape, axis, dtype):
    """Every dimension 0: a division by it used to crash (F1, F2, F3)."""
    sizes = axis_shape(shape, axis)
    x, grad = np.empty(shape, dtype), np.empty(shape, dtype)
    weight, bias = parameter(sizes, dtype, "weight"), parameter(sizes, dtype, "bias")
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis)
    rows = tuple(np.delete(shape, axis).tolist())
    assert y.shape == shape and y.dtype == dtype
    assert stats.mean.shape == stats.inv_std.shape == rows
    if sizes == (0,):
        assert np.isnan(stats.mean).all() and np.isnan(stats.inv_std).all()
    gradients = nd.layer_norm_backward(grad, x, stats, weight, axis=axis)
    assert gradients.x.shape == shape
    for gradient in (gradients.weight, gradients.bias):
        assert gradient.shape == sizes and gradient.dtype == dtype and not gradient.any()


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-5])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 100, 769])
def test_constant_rows_give_exactly_the_bias(length, eps, dtype):
    """A rounded mean leaves something that 1 / sqrt(eps) blows up (A4, A5, A10)."""
    values = constants(dtype)
    x = np.repeat(values[:, None], length, axis=1)
    weight, bias = (parameter((length,), dtype, name) * 100 for name in ("weight", "bias"))
    y, stats = nd.layer_norm_forward(x, weight, bias, eps=eps)
    assert_same_bits(y, np.broadcast_to(bias, x.shape) + 0)
    assert_same_bits(stats.mean + 0.0, values.astype(np.float64) + 0.0)
    expected = np.inf if eps == 0 else 1 / np.sqrt(eps)
    assert np.allclose(stats.inv_std, expected, rtol=ONE_ROUNDING, atol=0)


def test_constant_channels_first_rows_give_exactly_the_bias(dtype):
    values = constants(dtype)
    x = np.broadcast_to(values, (2, 37, values.size)).copy()
    bias = parameter((37,), dtype, "bias")
    y = nd.layer_norm(x, None, bias, axis=1, eps=0.0)
    assert_same_bits(y, np.broadcast_to(bias[:, None], x.shape) + 0)


def test_constant_row_has_a_finite_gradient_unless_eps_is_0(dtype):
    """d sqrt(var) at var = 0 used to give NaN (F8)."""
    x, grad = np.full((3, 13), 7.25, dtype), normal((3, 13), dtype, "grad")
    check_layer_norm(x, None, None, grad)
    _, stats = nd.layer_norm_forward(x, eps=0.0)
    assert np.isinf(stats.inv_std).all()
    assert np.isnan(nd.layer_norm_backward(grad, x, stats).x).all()


def test_one_element_rows_give_the_bias_and_no_gradient(dtype):
    """No silent error and no NaN (F7)."""
    x, bias = normal((7, 1), dtype, "x"), np.array([0.3], dtype)
    y, stats = nd.layer_norm_forward(x, np.array([5.0], dtype), bias)
    assert (y == bias).all()
    grad = normal((7, 1), dtype, "grad")
    gradients = nd.layer_norm_backward(grad, x, stats)
    roundoff = finfo(dtype).eps / 2 * 2 * np.abs(grad) * stats.inv_std[:, None]
    assert_within(np.abs(gradients.x) / roundoff, limits(dtype).gradient)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 5, -1])
@pytest.mark.parametrize(("shape", "axis"), [((7, 33), -1), ((7, 33, 5), 1), ((33, 7), 0)])
def test_nan_and_infinity_spoil_their_own_row_only(shape, axis, bad, position, dtype):
    """inf - inf in a merge used to spread (F10); NaN must not turn into 0 (F11)."""
    x, weight, bias, _ = case(shape, axis, dtype)
    clean = nd.layer_norm(x, weight, bias, axis=axis)
    rows, clean_rows = np.moveaxis(x, axis, -1), np.moveaxis(clean, axis, -1)
    row = (3,) if axis != 1 else (3, 2)
    rows[(*row, position)] = bad
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis)
    y_rows = np.moveaxis(y, axis, -1)
    assert np.isnan(y_rows[row]).all()
    y_rows[row] = clean_rows[row]
    assert_same_bits(y, clean)
    assert np.isnan(stats.inv_std[row]) and np.isnan(stats.inv_std).sum() == 1


# out ---------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(dtype):
    x, weight, bias, grad = case((5, 37), -1, dtype)
    y, stats = nd.layer_norm_forward(x, weight, bias)
    gradients = nd.layer_norm_backward(grad, x, stats, weight)
    for out in (np.full_like(x, np.nan), np.full((5, 74), np.nan, dtype)[:, ::2],
                np.full((37, 5), np.nan, dtype).T):  # fmt: skip
        assert nd.layer_norm(x, weight, bias, out=out) is out
        assert_same_bits(out.copy(), y)
        out[...] = np.nan
        result, result_stats = nd.layer_norm_forward(x, weight, bias, out=out)
        assert result is out
        assert_same_bits((out.copy(), result_stats), (y, stats))
        out[...] = np.nan
        result = nd.layer_norm_backward(grad, x, stats, weight, out=out)
        assert result.x is out
        assert_same_bits((out.copy(), *result[1:]), tuple(gradients))


def test_strided_out_writes_nothing_else(dtype):
    x = normal((5, 37), dtype, "x")
    big = np.full((7, 120), 123.0, dtype)
    out = big[1:6, 3 : 3 + 3 * 37 : 3]
    nd.layer_norm(x, out=out)
    assert_same_bits(out.copy(), nd.layer_norm(x))
    out[...] = 123.0
    assert (big == 123.0).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_out_may_be_x_itself(order, dtype):
    x, weight, bias, _ = case((5, 37), -1, dtype)
    x = np.array(x, order=order)
    expected = nd.layer_norm_forward(x, weight, bias)
    same = x.copy(order="K")
    assert_same_bits(nd.layer_norm_forward(same, weight, bias, out=same), expected)
    again = x.copy(order="K")
    assert nd.layer_norm(again, weight, bias, out=again[:]) is not again
    assert_same_bits(again, expected[0])


def test_backward_out_may_be_grad_output(dtype):
    x, weight, _, grad = case((5, 37), -1, dtype)
    _, stats = nd.layer_norm_forward(x, weight)
    expected = nd.layer_norm_backward(grad, x, stats, weight)
    same = grad.copy()
    assert_same_bits(nd.layer_norm_backward(same, x, stats, weight, out=same), expected)


# The comparison itself ---------------------------------------------------------------------------


def test_a_perturbed_result_is_rejected(dtype):
    """A comparison that cannot fail proves nothing (H1, H4)."""
    x, weight, bias, _ = case((5, 37), -1, dtype)
    y, expected = nd.layer_norm(x, weight, bias), reference.layer_norm(x, weight, bias)
    plain = reference.layer_norm(x, weight)
    limit = limits(dtype).reference
    assert forward_units(y, expected, plain).max() <= limit
    perturbed = y.copy()
    perturbed[2, 3] *= 1 + PERTURBATION * limit * finfo(dtype).eps
    assert forward_units(perturbed, expected, plain).max() > limit
    swapped = y.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert forward_units(swapped, expected, plain).max() > limit


@pytest.mark.parametrize("mutant", ["sum_grad", "no_product", "weight_after_mean"])
def test_wrong_gradients_are_rejected(mutant, dtype):
    """The usual wrong formulas must not pass the gradient comparison."""
    x, weight, _, grad = case((5, 37), -1, dtype)
    mean, inv_std = (value[:, None] for value in nd.layer_norm_forward(x)[1])
    x_hat = (x - mean) * inv_std
    g = grad * weight
    term = (g * x_hat).mean(-1, keepdims=True) * x_hat
    wrong = {
        "sum_grad": g - 2 * g.mean(-1, keepdims=True) - term,
        "no_product": g - g.mean(-1, keepdims=True),
        "weight_after_mean": weight * (grad - grad.mean(-1, keepdims=True)) - term,
    }[mutant]

    def backward(*args, **options):
        return real(*args, **options)._replace(x=(wrong * inv_std).astype(dtype))

    real = nd.layer_norm_backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "layer_norm_backward", backward)
        with pytest.raises(AssertionError, match="grad x"):
            check_layer_norm(x, weight, None, grad)
