"""Weight norm against the reference and exact answers."""

from __future__ import annotations

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import HALF_TYPES, adversarial_rows, normal, parameter
from comparing import assert_same_bits, assert_within, close_to_framework, split_axes
from normdrop import reference
from oracles import error_in_roundoffs, error_in_units, statistics_units
from oracles_in_fractions import exact_norm, exact_weight_norm, exact_weight_norm_gradient
from tolerances import PERTURBATION, PRODUCT_SUMS, limits

pytestmark = pytest.mark.usefixtures("backend")

# (shape, axis): matrices and filters by their outputs, the same transposed, vectors, short units
# and long ones.
CASES = [
    ((7,), 0),
    ((11, 13), 0),
    ((11, 13), 1),
    ((5, 7, 3, 2), 0),
    ((5, 7, 3, 2), 1),
    ((5, 7, 3, 2), -1),
    ((5, 7, 3), -2),
    ((1, 17), 0),
    ((17, 1), 0),
    ((17, 1), 1),
    ((131, 3), 0),
    ((3, 131), 1),
    ((3, 4099), 0),
    ((4099, 3), 1),
    ((67, 5, 129), 1),
]


def case(shape, axis, dtype, g_dtype=None):
    v, grad = normal(shape, dtype, "v"), normal(shape, dtype, "grad")
    return v, parameter((shape[axis],), g_dtype or dtype, "g"), grad


def units_of(array, axis):
    """One row for each unit."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def check_weight_norm(v, g, grad, axis=0):
    """Weights, norms and gradients of every unit against exact answers."""
    w, norm = nd.weight_norm_forward(v, g, axis=axis)
    assert w.dtype == v.dtype and w.shape == v.shape
    assert norm.dtype == np.float64 and norm.shape == g.shape
    grad_v, grad_g = nd.weight_norm_backward(grad, v, g, norm, axis=axis)
    assert grad_v.dtype == v.dtype and grad_v.shape == v.shape
    assert grad_g.dtype == g.dtype and grad_g.shape == g.shape
    rows = (units_of(array, axis) for array in (v, w, grad, grad_v))
    for unit, (value, weight, output, of_v) in enumerate(zip(*rows, strict=True)):
        errors = error_in_units(weight, exact_weight_norm(value, float(g[unit])))
        assert_within(errors, limits(v.dtype).forward, "w")
        error = statistics_units(float(norm[unit]), exact_norm(value))
        assert_within(error, limits(v.dtype).inv_std, "norm")
        exact = exact_weight_norm_gradient(output, value, float(g[unit]), float(norm[unit]))
        assert_within(error_in_roundoffs(of_v, exact[0]), limits(v.dtype).gradient, "grad v")
        errors = error_in_roundoffs(grad_g[unit : unit + 1], exact[1])
        assert_within(errors, PRODUCT_SUMS[g.dtype.name], "grad g")


@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_every_shape_and_axis(shape, axis, dtype, unchanged):
    v, g, grad = case(shape, axis, dtype)
    unchanged(v, g, grad)
    check_weight_norm(v, g, grad, axis)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_lengths_of_float32_for_half_types(axis, dtype):
    """A sum of squares in half precision overflows (B14, B15)."""
    v, g, grad = case((37, 41), axis, dtype, np.float32)
    check_weight_norm(v, g, grad, axis)


@pytest.mark.parametrize("columns", [False, True])
def test_every_length_around_the_vector_widths(columns, dtype):
    for length in [*range(1, 36), 63, 64, 65, 127, 129]:
        shape = (length, 3) if columns else (3, length)
        check_weight_norm(*case(shape, int(columns), dtype), int(columns))


@pytest.mark.parametrize("columns", [False, True])
def test_squares_neither_overflow_nor_vanish(columns, dtype):
    """Outliers and ranges that broke other packages, subnormal weights among them."""
    for row in adversarial_rows(dtype, 769):
        if not row.values.any():
            continue  # 1e-30 in float16; a unit of zeros has a test of its own
        v = np.stack([normal((769,), np.float64, "other").astype(dtype), row.values])
        g = np.array([0.75, -2.5], dtype)
        axis = int(columns)
        v = np.ascontiguousarray(v.T) if columns else v
        w, norm = nd.weight_norm_forward(v, g, axis=axis)
        exact = exact_weight_norm(row.values, -2.5)
        errors = error_in_units(units_of(w, axis)[1].copy(), exact)
        assert_within(errors, limits(dtype).forward, row.name)
        error = statistics_units(float(norm[1]), exact_norm(row.values))
        assert_within(error, limits(dtype).inv_std, row.name)


def test_the_plain_call_and_the_length_of_what_comes_out():
    v, g, _ = case((11, 13), 0, np.float64)
    w, norm = nd.weight_norm_forward(v, g)
    assert_same_bits(nd.weight_norm(v, g), w)
    assert np.allclose(np.linalg.norm(w, axis=1), np.abs(g), rtol=1e-14)
    assert np.allclose(norm, np.linalg.norm(v, axis=1), rtol=1e-14)


@pytest.mark.parametrize("power", [-2, 4])
def test_a_power_of_two_in_v_changes_no_weight(power, dtype):
    v, g, _ = case((11, 13), 0, dtype)
    longer = (v.astype(np.float64) * 2.0**power).astype(dtype)
    assert (longer.astype(np.float64) == v.astype(np.float64) * 2.0**power).all()
    assert_same_bits(nd.weight_norm(longer, g), nd.weight_norm(v, g))


def test_the_gradient_of_v_has_no_part_along_v():
    """So v only grows under plain gradient descent."""
    v, g, grad = case((11, 13), 0, np.float64)
    _, norm = nd.weight_norm_forward(v, g)
    grad_v, _ = nd.weight_norm_backward(grad, v, g, norm)
    along = (grad_v * v).sum(1)
    assert np.allclose(along, 0, atol=1e-13)
    assert np.linalg.norm(v - grad_v) > np.linalg.norm(v)


def test_backward_uses_the_norm_as_passed():
    v, g, grad = case((11, 13), 0, np.float64)
    norm = np.linspace(0.5, 2, 11)
    got = nd.weight_norm_backward(grad, v, g, norm)
    for left, right in zip(got, reference.weight_norm_backward(grad, v, g, norm), strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative)


# Edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [False, True])
def test_a_unit_of_zeros_has_weights_of_0_and_no_gradient(columns, dtype):
    axis = int(columns)
    v, g, grad = case((5, 5), axis, dtype)
    np.moveaxis(v, axis, 0)[3] = 0
    w, norm = nd.weight_norm_forward(v, g, axis=axis)
    assert not np.moveaxis(w, axis, 0)[3].any() and norm[3] == 0
    assert np.isfinite(w).all()
    grad_v, grad_g = nd.weight_norm_backward(grad, v, g, norm, axis=axis)
    assert np.isnan(np.moveaxis(grad_v, axis, 0)[3]).all() and np.isnan(grad_g[3])
    assert np.isfinite(np.delete(grad_v, 3, axis)).all() and np.isfinite(np.delete(grad_g, 3)).all()


@pytest.mark.parametrize(("shape", "axis"), [((0, 5), 0), ((5, 0), 0), ((0, 5), 1), ((0, 0), 0),
                                             ((3, 0, 5), 2), ((0,), 0)])  # fmt: skip
def test_empty_arrays(shape, axis, dtype):
    v, g, grad = case(shape, axis, dtype)
    w, norm = nd.weight_norm_forward(v, g, axis=axis)
    assert w.shape == shape and norm.shape == g.shape and not norm.any()
    grad_v, grad_g = nd.weight_norm_backward(grad, v, g, np.ones(g.shape), axis=axis)
    assert grad_v.shape == shape and grad_g.shape == g.shape and not grad_g.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("axis", [0, 1])
def test_nan_and_infinity_spoil_their_own_unit_only(axis, bad, dtype):
    v, g, _ = case((7, 37), axis, dtype)
    clean = nd.weight_norm(v, g, axis=axis)
    np.moveaxis(v, axis, 0)[3, 5] = bad
    w = nd.weight_norm(v, g, axis=axis)
    assert np.isnan(np.moveaxis(w, axis, 0)[3, 5])
    np.moveaxis(w, axis, 0)[3] = np.moveaxis(clean, axis, 0)[3]
    assert_same_bits(w, clean)


def test_out_is_filled_and_returned_and_may_be_v(dtype):
    for shape, axis in (((11, 13), 0), ((11, 13), 1)):
        v, g, _ = case(shape, axis, dtype)
        w, norm = nd.weight_norm_forward(v, g, axis=axis)
        for out in (np.full((11, 26), np.nan, dtype)[:, ::2], np.full((13, 11), np.nan, dtype).T):
            assert nd.weight_norm(v, g, axis=axis, out=out) is out
            assert_same_bits(out.copy(), w)
        same = v.copy()
        assert_same_bits(nd.weight_norm_forward(same, g, axis=axis, out=same), (w, norm))


# The comparison itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", ["weight", "no_projection", "sign", "axis"])
def test_wrong_results_are_rejected(mutant, dtype):
    """The gradient of v without its projection, or with the wrong sign; norms of the wrong axis."""
    v, g, grad = case((13, 13), 0, dtype)
    norm = nd.weight_norm_forward(v, g)[1][:, None]
    _, grad_g = reference.weight_norm_backward(grad, v, g, norm[:, 0])
    unit = v / norm
    sign = {"no_projection": 0.0, "sign": 1.0}.get(mutant, -1.0)
    of_v = (g[:, None] / norm * (grad + sign * unit * grad_g[:, None])).astype(dtype)
    real = nd.weight_norm_forward, nd.weight_norm_backward

    def forward(v, g, *, axis):
        w, norm = real[0](v, g, axis=1 - axis if mutant == "axis" else axis)
        if mutant == "weight":
            w[2, 3] *= 1 + PERTURBATION * limits(dtype).forward * finfo(dtype).eps
        return w, norm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, "weight_norm_forward", forward)
        if mutant in ("no_projection", "sign"):
            patch.setattr(nd, "weight_norm_backward", lambda *a, **b: (of_v, real[1](*a, **b)[1]))
        with pytest.raises(AssertionError, match=r"w: error|grad v: error"):
            check_weight_norm(v, g, grad)


@pytest.mark.frameworks
@pytest.mark.parametrize(("shape", "axis"), [((11, 13), 0), ((5, 7, 3, 3), 0), ((5, 7, 3), 1)])
def test_the_same_in_pytorch(shape, axis):
    torch = pytest.importorskip("torch")
    v, g, grad = case(shape, axis, np.float32)
    kept, _ = split_axes(axis, v.ndim)
    shaped = g.reshape([size if i in kept else 1 for i, size in enumerate(shape)])
    tv, tg = (torch.from_numpy(array.copy()).requires_grad_() for array in (v, shaped))
    theirs = torch._weight_norm(tv, tg, axis)
    theirs.backward(torch.from_numpy(grad))
    w, norm = nd.weight_norm_forward(v, g, axis=axis)
    grad_v, grad_g = nd.weight_norm_backward(grad, v, g, norm, axis=axis)
    close_to_framework(w, theirs)
    close_to_framework(grad_v, tv.grad)
    close_to_framework(grad_g, tg.grad.reshape(-1))
