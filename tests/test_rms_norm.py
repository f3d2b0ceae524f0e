"""RMS norm against the reference and exact answers: shapes, ranges, edges and ``out``."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import (
    DTYPES,
    LAYER_NORM_CASES,
    Row,
    adversarial_rows,
    axis_shape,
    normal,
    parameter,
    rows_at_the_ends,
    tiny_rows,
)
from comparing import assert_same_bits, assert_within, close_to_framework, forward_units
from norm_checks import check_rms_norm
from normdrop import reference
from oracles import (
    error_in_roundoffs,
    error_in_units,
    exact_dot,
    exact_gradient,
    exact_normalise,
    exact_weight_gradient,
    statistics_units,
)
from tolerances import PERTURBATION, limits

pytestmark = pytest.mark.usefixtures("backend")

LENGTH = 769


def case(shape, axis, dtype, offset=0.0):
    sizes = axis_shape(shape, axis)
    return (
        normal(shape, dtype, "x", offset=offset),
        parameter(sizes, dtype, "weight"),
        parameter(sizes, dtype, "bias"),
        normal(shape, dtype, "grad"),
    )


# Against the reference ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), LAYER_NORM_CASES)
def test_every_shape_and_axis(shape, axis, dtype, unchanged):
    arrays = case(shape, axis, dtype, offset=0.5)
    unchanged(*arrays)
    check_rms_norm(*arrays, axis=axis)


@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("shape", "axis"), [((5, 37), -1), ((3, 7, 5), 1), ((3, 5, 7), (1, 2))])
def test_weight_and_bias_are_independent(shape, axis, has_weight, has_bias, dtype):
    x, weight, bias, grad = case(shape, axis, dtype)
    check_rms_norm(x, weight if has_weight else None, bias if has_bias else None, grad, axis=axis)


@pytest.mark.parametrize("eps", [1e-12, 0.1, 1.0, 1e4])
def test_eps_stands_inside_the_root_once(eps, dtype):
    """One of the paper's two implementations adds it outside."""
    check_rms_norm(*case((7, 13), -1, dtype), eps=eps)


@pytest.mark.parametrize("shape_of", [lambda n: (3, n), lambda n: (2, n, 3)])
def test_every_length_around_the_vector_widths(shape_of, dtype):
    """A vector tail that is skipped, or runs into the next row (D1, D2)."""
    for length in [*range(1, 67), 127, 128, 129, 1023, 1025]:
        check_rms_norm(*case(shape_of(length), 1, dtype), axis=1)


def test_long_rows_and_channels_first_rows(dtype):
    check_rms_norm(*case((2, 1009, 67), 1, dtype, offset=3.0), axis=1)
    check_rms_norm(*case((1009, 67), 0, dtype, offset=3.0), axis=0)
    check_rms_norm(*case((2, 70_001), -1, dtype, offset=3.0))


@pytest.mark.parametrize("axis", [(1, 2), (2, 1), (-1, -2), (-2, 2)])
def test_ways_to_name_the_same_axes(axis):
    x, weight = normal((3, 5, 7), np.float32, "x"), parameter((5, 7), np.float32, "weight")
    expected = nd.rms_norm_forward(x, weight, axis=(1, 2))
    assert_same_bits(nd.rms_norm_forward(x, weight, axis=axis), expected)


def test_plain_call_is_the_forward_without_statistics(dtype):
    x, weight, bias, _ = case((5, 37), -1, dtype)
    assert_same_bits(nd.rms_norm(x, weight, bias), nd.rms_norm_forward(x, weight, bias)[0])


def test_rows_of_mean_0_are_those_of_layer_norm(dtype):
    """In the exact answers; kernels then cannot be far from each other."""
    half = normal((5, 37), dtype, "x")
    x, grad = np.concatenate([half, -half], axis=1), normal((5, 74), dtype, "grad")
    layer, root = nd.layer_norm_forward(x), nd.rms_norm_forward(x)
    assert np.allclose(root[1].inv_std, layer[1].inv_std, rtol=1e-14)
    plain = reference.rms_norm(x)
    assert np.allclose(reference.layer_norm(x), plain, rtol=1e-13)
    for y in (layer[0], root[0]):
        assert_within(forward_units(y, plain, plain, 1.0), limits(dtype).reference)
    centred = nd.layer_norm_backward(grad, x, layer[1]).x
    uncentred = nd.rms_norm_backward(grad, x, root[1]).x
    assert not np.allclose(centred, uncentred), "the gradients do differ"


def test_backward_uses_the_statistics_as_passed():
    x, weight, _, grad = case((5, 37), -1, np.float64)
    stats = nd.NormStats(None, np.linspace(0.5, 2, 5))
    got = nd.rms_norm_backward(grad, x, stats, weight)
    want = reference.rms_norm_backward(grad, x, stats, weight)
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative)


def test_bias_false_leaves_its_gradient_out(dtype):
    x, weight, _, grad = case((5, 37), -1, dtype)
    _, stats = nd.rms_norm_forward(x, weight)
    with_bias = nd.rms_norm_backward(grad, x, stats, weight)
    without = nd.rms_norm_backward(grad, x, stats, weight, bias=False)
    assert without.bias is None and with_bias.bias is not None
    assert_same_bits(without[:2], with_bias[:2])
    assert nd.rms_norm_backward(grad, x, stats).weight is None


# Against exact answers ---------------------------------------------------------------------------


@cache
def rows(dtype) -> dict[str, Row]:
    found = [*adversarial_rows(dtype, LENGTH), *tiny_rows(dtype)]
    if finfo(dtype).bits == 16:
        found += rows_at_the_ends(dtype, LENGTH)
    near = normal((LENGTH,), np.float64, "near")
    for name, values, eps in (
        ("rows_of_1e30", near * 1e30, 1e-5),
        ("rows_of_1e-30", near * 1e-30, 0.0),
        ("rows_of_1e-30_with_eps", near * 1e-30, 1e-5),
        ("1e30_beside_1e-30", np.where(np.arange(LENGTH) % 2, 1e30, 1e-30) * near, 1e-5),
    ):
        with np.errstate(over="ignore"):
            cast = values.astype(dtype)
        if np.isfinite(cast).all() and cast.any():
            found.append(Row(name, cast, eps))
    return {row.name: row for row in found}


EVERY_ROW = pytest.mark.parametrize(
    ("dtype", "name"),
    [(dtype, name) for dtype in DTYPES for name in rows(dtype)],
    ids=lambda value: getattr(value, "__name__", value),
)


@cache
def solved(dtype, name):
    row = rows(dtype)[name]
    weight, bias = (parameter(row.values.shape, dtype, key) for key in ("weight", "bias"))
    plain = exact_normalise(row.values, eps=row.eps, centred=False)
    affine = exact_normalise(row.values, weight, bias, eps=row.eps, centred=False)
    return row, weight, bias, plain, affine


@EVERY_ROW
def test_rows_against_exact_answers(name, dtype, backend):
    """1e30 and 1e-30, whose squares overflow and vanish (B1, B3), among all others."""
    row, weight, bias, plain, affine = solved(dtype, name)
    x = np.stack([normal(row.values.shape, dtype, "other"), row.values])
    columns = np.repeat(normal((row.values.size, 1), dtype, "other"), 19, axis=1)
    columns[:, 17] = row.values
    for w, b, (exact, statistics) in ((None, None, plain), (weight, bias, affine)):
        y, stats = nd.rms_norm_forward(x, w, b, eps=row.eps)
        assert_within(error_in_units(y[1], exact), limits(dtype).forward, name)
        units = statistics_units(float(stats.inv_std[1]), statistics.inv_std)
        assert_within(units, limits(dtype).inv_std, "inv_std")
        y, stats = nd.rms_norm_forward(columns, w, b, axis=0, eps=row.eps)
        assert_within(error_in_units(y[:, 17], exact), limits(dtype).forward, name)
        units = statistics_units(float(stats.inv_std[17]), statistics.inv_std)
        assert_within(units, limits(dtype).inv_std, "inv_std of columns")


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1.0, 30.0), (300.0, 0.0), (1e-3, 0.0)])
def test_gradients_against_exact_answers(scale, offset, dtype):
    shape = (5, 333)
    x = (normal(shape, np.float64, "x") * scale + offset).astype(dtype)
    grad, weight = normal(shape, dtype, "grad"), parameter((333,), dtype, "weight")
    _, stats = nd.rms_norm_forward(x, weight)
    got = nd.rms_norm_backward(grad, x, stats, weight)
    for row in range(shape[0]):
        inv_std = float(stats.inv_std[row])
        exact = exact_gradient(grad[row], x[row], 0.0, inv_std, weight, centred=False)
        assert_within(error_in_roundoffs(got.x[row], exact), limits(dtype).gradient, "grad x")
    for column in (0, 17, 332):
        zeros = np.zeros(shape[0])
        exact = exact_weight_gradient(grad[:, column], x[:, column], zeros, stats.inv_std)
        errors = error_in_roundoffs(got.weight[column : column + 1], exact)
        assert_within(errors, limits(dtype).parameter_gradient, "grad weight")
        exact = exact_dot(grad[:, column], np.ones(shape[0]))
        errors = error_in_roundoffs(got.bias[column : column + 1], exact)
        assert_within(errors, limits(dtype).parameter_gradient, "grad bias")


@pytest.mark.parametrize("power", [-20, -3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_power_of_two_in_x_changes_no_bit(power, dtype):
    x, weight, bias, _ = case((5, 37), -1, dtype)
    expected = nd.rms_norm(x, weight, bias, eps=0.0)
    assert_same_bits(nd.rms_norm(np.ldexp(x, power), weight, bias, eps=0.0), expected)


# Edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (0,), (3, 0), (0, 0), (2, 3, 0)])
@pytest.mark.parametrize("axis", [0, -1])
def test_empty_arrays(shape, axis, dtype):
    """Every dimension 0: a division by it used to crash (F1, F2, F3)."""
    sizes = axis_shape(shape, axis)
    x, grad = np.empty(shape, dtype), np.empty(shape, dtype)
    weight, bias = parameter(sizes, dtype, "weight"), parameter(sizes, dtype, "bias")
    y, stats = nd.rms_norm_forward(x, weight, bias, axis=axis)
    assert y.shape == shape and y.dtype == dtype
    assert stats.mean is None and stats.inv_std.shape == tuple(np.delete(shape, axis).tolist())
    if sizes == (0,):
        assert np.isnan(stats.inv_std).all()
    gradients = nd.rms_norm_backward(grad, x, stats, weight, axis=axis)
    assert gradients.x.shape == shape
    for gradient in (gradients.weight, gradients.bias):
        assert gradient.shape == sizes and gradient.dtype == dtype and not gradient.any()


@pytest.mark.parametrize("length", [1, 3, 16, 100, 769])
def test_rows_of_zeros_give_the_bias(length, dtype):
    x, bias = np.zeros((3, length), dtype), parameter((length,), dtype, "bias")
    grad = normal((3, length), dtype, "grad")
    for eps, inv_std in ((1e-4, 1e2), (0.0, np.inf)):
        y, stats = nd.rms_norm_forward(x, np.full(length, 7, dtype), bias, eps=eps)
        assert_same_bits(y, np.broadcast_to(bias, x.shape) + 0)
        assert np.allclose(stats.inv_std, inv_std, rtol=1e-15)
    assert np.isnan(nd.rms_norm_backward(grad, x, stats).x).all()
    check_rms_norm(x, None, None, grad, eps=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 5, -1])
@pytest.mark.parametrize(("shape", "axis"), [((7, 33), -1), ((7, 33, 5), 1), ((33, 7), 0)])
def test_nan_and_infinity_spoil_their_own_row_only(shape, axis, bad, position, dtype):
    x, weight, bias, _ = case(shape, axis, dtype)
    clean = nd.rms_norm(x, weight, bias, axis=axis)
    rows, clean_rows = np.moveaxis(x, axis, -1), np.moveaxis(clean, axis, -1)
    row = (3,) if axis != 1 else (3, 2)
    rows[(*row, position)] = bad
    y, stats = nd.rms_norm_forward(x, weight, bias, axis=axis)
    y_rows = np.moveaxis(y, axis, -1)
    assert np.isnan(y_rows[row] if np.isnan(bad) else y_rows[(*row, position)]).all()
    y_rows[row] = clean_rows[row]
    assert_same_bits(y, clean)
    assert not stats.inv_std[row] > 0, "NaN, or 1 / inf"
    assert (stats.inv_std > 0).sum() == stats.inv_std.size - 1


# out ---------------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(dtype):
    x, weight, bias, grad = case((5, 37), -1, dtype)
    y, stats = nd.rms_norm_forward(x, weight, bias)
    gradients = nd.rms_norm_backward(grad, x, stats, weight)
    for out in (np.full_like(x, np.nan), np.full((5, 74), np.nan, dtype)[:, ::2],
                np.full((37, 5), np.nan, dtype).T):  # fmt: skip
        assert nd.rms_norm(x, weight, bias, out=out) is out
        assert_same_bits(out.copy(), y)
        out[...] = np.nan
        result = nd.rms_norm_backward(grad, x, stats, weight, out=out)
        assert result.x is out
        assert_same_bits((out.copy(), *result[1:]), tuple(gradients))


def test_out_may_be_x_or_grad_output_itself(dtype):
    x, weight, bias, grad = case((5, 37), -1, dtype)
    expected, stats = nd.rms_norm_forward(x, weight, bias)
    gradients = nd.rms_norm_backward(grad, x, stats, weight)
    same = grad.copy()
    assert_same_bits(nd.rms_norm_backward(same, x, stats, weight, out=same), gradients)
    same = x.copy()
    assert_same_bits(nd.rms_norm_forward(same, weight, bias, out=same), (expected, stats))


# The comparison itself ---------------------------------------------------------------------------


def test_a_perturbed_result_is_rejected(dtype):
    x, weight, bias, _ = case((5, 37), -1, dtype)
    y, expected = nd.rms_norm(x, weight, bias), reference.rms_norm(x, weight, bias)
    plain = reference.rms_norm(x, weight)
    limit = limits(dtype).reference
    assert forward_units(y, expected, plain).max() <= limit
    perturbed = y.copy()
    perturbed[2, 3] *= 1 + PERTURBATION * limit * finfo(dtype).eps
    assert forward_units(perturbed, expected, plain).max() > limit


@pytest.mark.parametrize("mutant", ["centred", "no_product", "weight_after_mean"])
def test_wrong_gradients_are_rejected(mutant, dtype):
    x, weight, _, grad = case((5, 37), -1, dtype)
    inv_std = nd.rms_norm_forward(x)[1].inv_std[:, None]
    x_hat, g = x * inv_std, grad * weight
    term = (g * x_hat).mean(-1, keepdims=True) * x_hat
    wrong = {
        "centred": g - g.mean(-1, keepdims=True) - term,
        "no_product": g,
        "weight_after_mean": weight * (grad - (grad * x_hat).mean(-1, keepdims=True) * x_hat),
    }[mutant]

    def backward(*args, **options):
        return real(*args, **options)._replace(x=(wrong * inv_std).astype(dtype))

    real = nd.rms_norm_backward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "rms_norm_backward", backward)
        with pytest.raises(AssertionError, match="grad x"):
            check_rms_norm(x, weight, None, grad)


# PyTorch -----------------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.parametrize(("shape", "axes"), [((7, 13), 1), ((3, 5, 7), 2)])
def test_the_same_in_pytorch(shape, axes):
    torch = pytest.importorskip("torch")
    sizes = shape[-axes:]
    axis = tuple(range(-axes, 0))
    x, weight, _, grad = case(shape, axis, np.float32)
    tx, tw = (torch.from_numpy(array.copy()).requires_grad_() for array in (x, weight))
    theirs = torch.nn.functional.rms_norm(tx, sizes, tw, eps=0.01)
    theirs.backward(torch.from_numpy(grad))
    y, stats = nd.rms_norm_forward(x, weight, axis=axis, eps=0.01)
    gradients = nd.rms_norm_backward(grad, x, stats, weight, axis=axis)
    close_to_framework(y, theirs)
    close_to_framework(gradients.x, tx.grad)
    close_to_framework(gradients.weight, tw.grad)
