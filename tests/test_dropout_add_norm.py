"""Dropout, residual add and norm in one pass: against its parts and exact answers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES, LAYOUTS, adversarial_rows, axis_shape, normal, parameter
from comparing import (
    assert_same_bits,
    assert_statistics,
    assert_within,
    close_to_framework,
    forward_units,
    parameter_roundoffs,
    reference_condition,
    rounded,
    split_axes,
)
from normdrop import reference
from oracles import Exact, error_in_roundoffs, error_in_units, exact_normalise
from tolerances import FUSED_GRADIENT_ROUNDOFFS, PERTURBATION, ROUNDING, limits

pytestmark = pytest.mark.usefixtures("backend")

KINDS = ["layer", "rms"]
CASES = [
    ((13,), -1),
    ((11, 13), -1),
    ((11, 13), 0),
    ((5, 7, 11), -1),
    ((5, 7, 11), 1),
    ((5, 7, 11), (1, 2)),
    ((3, 5, 7, 11), 1),
    ((3, 5, 7, 11), (1, 2, 3)),
    ((1, 13), -1),
    ((13, 1), -1),
    ((3, 257), -1),
    ((131, 3), 0),
    ((2, 4099), -1),
    ((67, 769), -1),
]


def functions(kind):
    return (
        getattr(nd, f"dropout_add_{kind}_norm_forward"),
        getattr(nd, f"dropout_add_{kind}_norm_backward"),
        getattr(reference, f"{kind}_norm_forward"),
        getattr(reference, f"dropout_add_{kind}_norm_backward"),
    )


def case(shape, axis, dtype, parameter_dtype=None, offset=0.5):
    sizes = axis_shape(shape, axis)
    return {
        "x": normal(shape, dtype, "x"),
        "residual": normal(shape, dtype, "residual", offset=offset),
        "weight": parameter(sizes, parameter_dtype or dtype, "weight"),
        "bias": parameter(sizes, parameter_dtype or dtype, "bias"),
        "grad_y": normal(shape, dtype, "grad_y"),
        "grad_sum": normal(shape, dtype, "grad_sum"),
    }


def check_sum(total, x, residual, mask):
    """residual + dropout(x), rounded once."""
    scale = reference.scale_in(mask.p, x.dtype)
    kept = np.where(mask.keep, x.astype(np.float64), 0.0)
    if x.dtype == np.float64:
        product = kept * scale  # rounded as dropout rounds it, or fused into the sum
        exact = Exact(residual + product, np.zeros(x.shape), abs(residual) + abs(product))
        assert_within(error_in_units(total, exact), 2 * ROUNDING, "sum")
        return
    product, other = kept * np.float64(scale), residual.astype(np.float64)
    exact = rounded(other + product, np.maximum(np.abs(product), np.abs(other + product)))
    assert_within(error_in_units(total, exact), 2 * ROUNDING, "sum")


def check(kind, arrays, *, p=0.3, rng=(3, 4), axis=-1, eps=1e-5, grad_sum=True):
    """Every result of both passes, each judged at what it was computed from."""
    forward, backward, norm, reference_backward = functions(kind)
    x, weight, bias = arrays["x"], arrays["weight"], arrays["bias"]
    fused = forward(x, arrays["residual"], weight, bias, p=p, rng=rng, axis=axis, eps=eps)
    assert fused.mask == nd.DropoutMask(*rng, p, x.shape)
    for array in (fused.y, fused.sum):
        assert array.dtype == x.dtype and array.shape == x.shape
    check_sum(fused.sum, x, arrays["residual"], fused.mask)
    inside, outside = split_axes(axis, x.ndim)
    expected, stats = norm(fused.sum, weight, bias, axis=axis, eps=eps)
    plain, _ = norm(fused.sum, weight, axis=axis, eps=eps)
    inv_std = np.expand_dims(stats.inv_std, inside)
    condition = reference_condition(fused.sum, inv_std, plain, inside)
    units = forward_units(fused.y, expected, plain, condition)
    assert_within(units, limits(x.dtype).reference, "y")
    size = np.abs(fused.sum.astype(np.float64))
    own = np.maximum(1.0, size.max(inside, initial=0.0) * stats.inv_std)
    assert_statistics(fused.stats.inv_std, stats.inv_std, stats.inv_std * own, "inv_std")
    if kind == "rms":
        assert fused.stats.mean is None
    else:
        assert_statistics(fused.stats.mean, stats.mean, size.mean(inside), "mean")
    given = arrays["grad_sum"] if grad_sum else None
    options = {"grad_sum": given, "axis": axis, "bias": bias is not None}
    got = backward(arrays["grad_y"], fused, weight, **options)
    want = reference_backward(arrays["grad_y"], fused, weight, **options)
    check_gradients(got, want, fused, arrays, inside, outside, given)


def check_gradients(got, want, fused, arrays, inside, outside, grad_sum):
    total, weight, grad = fused.sum, arrays["weight"], arrays["grad_y"].astype(np.float64)
    mean = 0.0 if fused.stats.mean is None else np.expand_dims(fused.stats.mean, inside)
    inv_std = np.expand_dims(fused.stats.inv_std, inside)
    x_hat = (total.astype(np.float64) - mean) * inv_std
    g = grad
    if weight is not None:
        sizes = [s if i in inside else 1 for i, s in enumerate(total.shape)]
        g = grad * weight.astype(np.float64).reshape(sizes)
    means = [np.abs(value).mean(inside, keepdims=True) for value in (g, g * x_hat)]
    spread = (np.abs(g) + means[0] + np.abs(x_hat) * means[1]) * inv_std
    if grad_sum is not None:
        spread = spread + np.abs(grad_sum.astype(np.float64))
    limit = limits(total.dtype).reference_gradient
    assert got.residual.dtype == got.x.dtype == total.dtype
    errors = error_in_roundoffs(got.residual, rounded(want.residual, spread))
    assert_within(errors, limit, "grad residual")
    scale = float(reference.scale_in(fused.mask.p, total.dtype))
    errors = error_in_roundoffs(got.x, rounded(want.x, spread * scale))
    assert_within(errors, limit + FUSED_GRADIENT_ROUNDOFFS, "grad x")
    assert not got.x[~fused.mask.keep].any()
    for name, terms in (("weight", grad * x_hat), ("bias", grad)):
        left, right = getattr(got, name), getattr(want, name)
        assert (left is None) == (right is None), name
        if right is not None:
            dtype = total.dtype if weight is None else weight.dtype
            assert left.dtype == dtype and left.shape == right.shape
            errors = parameter_roundoffs(left, right, terms, outside)
            assert_within(errors, limits(dtype).reference_gradient, f"grad {name}")


# Against the reference ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_every_shape_and_axis(shape, axis, kind, dtype, unchanged):
    arrays = case(shape, axis, dtype)
    unchanged(*arrays.values())
    check(kind, arrays, axis=axis)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("grad_sum", [False, True])
def test_probabilities_and_gradients_from_elsewhere(grad_sum, p, kind, dtype):
    check(kind, case((5, 37), -1, dtype), p=p, grad_sum=grad_sum)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_weight", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_weight_and_bias_are_independent(has_weight, has_bias, kind, dtype):
    for shape, axis in (((5, 37), -1), ((3, 7, 5), 1)):
        arrays = case(shape, axis, dtype)
        arrays["weight"] = arrays["weight"] if has_weight else None
        arrays["bias"] = arrays["bias"] if has_bias else None
        check(kind, arrays, axis=axis)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_float32_parameters_of_half_types(kind, dtype):
    check(kind, case((5, 37), -1, dtype, np.float32))
    check(kind, case((3, 7, 5), 1, dtype, np.float32), axis=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [1e-12, 0.1, 1e4])
def test_eps_stands_inside_the_root_once(eps, kind, dtype):
    check(kind, case((5, 37), -1, dtype), eps=eps)


@pytest.mark.parametrize("kind", KINDS)
def test_every_length_around_the_vector_widths(kind, dtype):
    """Masks of rows that do not begin at a word of their own block."""
    for length in [*range(1, 36), 63, 64, 65, 127, 129]:
        check(kind, case((3, length), -1, dtype))
        check(kind, case((2, length, 3), 1, dtype), axis=1)


# Identities --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_elements_are_dropped_as_by_dropout(kind, dtype):
    x, residual = np.ones((7, 37), dtype), np.zeros((7, 37), dtype)
    fused = functions(kind)[0](x, residual, p=0.4, rng=(5, 6))
    y, mask = nd.dropout_forward(x, 0.4, rng=(5, 6))
    assert_same_bits(fused.sum, y)
    assert fused.mask == mask


@pytest.mark.parametrize("kind", KINDS)
def test_without_dropout_it_is_the_norm_of_a_sum(kind, dtype):
    arrays = case((5, 37), -1, dtype)
    x, residual = arrays["x"], arrays["residual"]
    fused = functions(kind)[0](x, residual, arrays["weight"], arrays["bias"])
    wide = np.float64 if dtype == np.float64 else np.float32
    total = (x.astype(wide) + residual.astype(wide)).astype(dtype)
    assert_same_bits(fused.sum, total)
    y, stats = getattr(nd, f"{kind}_norm_forward")(total, arrays["weight"], arrays["bias"])
    condition = 1.0 if dtype == np.float64 else 0.0
    assert_within(
        error_in_units(fused.y, rounded(y.astype(np.float64), np.abs(y) + condition)),
        2 * limits(dtype).forward,
    )
    assert np.allclose(fused.stats.inv_std, stats.inv_std, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_infinity_and_nan_become_0(kind, dtype):
    """Selecting, not multiplying by the mask: inf * 0 is NaN (J20)."""
    x, residual = np.full((5, 37), np.inf, dtype), normal((5, 37), dtype, "residual")
    x[::2] = np.nan
    fused = functions(kind)[0](x, residual, p=0.5, rng=3)
    keep = fused.mask.keep
    assert_same_bits(fused.sum[~keep], residual[~keep])
    assert not np.isfinite(fused.sum[keep]).any()
    fused = functions(kind)[0](x, residual, p=1.0, rng=3)
    assert_same_bits(fused.sum, residual + np.zeros((), dtype))
    gradients = functions(kind)[1](normal((5, 37), dtype, "grad"), fused)
    assert not gradients.x.any()


@pytest.mark.parametrize("kind", KINDS)
def test_backward_uses_statistics_and_mask_as_passed(kind):
    arrays = case((5, 37), -1, np.float64)
    fused = functions(kind)[0](arrays["x"], arrays["residual"], p=0.3, rng=3)
    mean = None if kind == "rms" else np.linspace(-1, 1, 5)
    other = fused._replace(
        stats=nd.NormStats(mean, np.linspace(0.5, 2, 5)), mask=nd.DropoutMask(9, 8, 0.6, (5, 37))
    )
    got = functions(kind)[1](arrays["grad_y"], other, arrays["weight"])
    want = functions(kind)[3](arrays["grad_y"], other, arrays["weight"])
    for left, right in zip(got, want, strict=True):
        assert np.allclose(left, right, rtol=limits(np.float64).fence_relative, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_bias_false_leaves_its_gradient_out(kind, dtype):
    arrays = case((5, 37), -1, dtype)
    fused = functions(kind)[0](arrays["x"], arrays["residual"], p=0.3, rng=3)
    with_bias = functions(kind)[1](arrays["grad_y"], fused, arrays["weight"])
    without = functions(kind)[1](arrays["grad_y"], fused, arrays["weight"], bias=False)
    assert without.bias is None and with_bias.bias is not None
    assert_same_bits(without[:3], with_bias[:3])
    assert functions(kind)[1](arrays["grad_y"], fused).weight is None


# Against exact answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [False, True])
def test_rows_against_exact_answers(columns, kind, dtype):
    """Offsets, outliers and ranges that broke other packages, in the residual."""
    for row in adversarial_rows(dtype, 769):
        residual = np.stack([normal((769,), np.float64, "other").astype(dtype), row.values])
        weight, bias = (parameter((769,), dtype, name) for name in ("weight", "bias"))
        axis = 0 if columns else -1
        residual = np.ascontiguousarray(residual.T) if columns else residual
        fused = functions(kind)[0](
            np.zeros_like(residual), residual, weight, bias, p=0.5, rng=3, axis=axis, eps=row.eps
        )
        assert_same_bits(fused.sum, residual + np.zeros((), dtype))
        exact, _ = exact_normalise(row.values, weight, bias, eps=row.eps, centred=kind == "layer")
        y = (fused.y.T if columns else fused.y)[1].copy()
        assert_within(error_in_units(y, exact), limits(dtype).forward, row.name)


# Edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (3, 0, 5)])
@pytest.mark.parametrize("axis", [0, -1])
def test_empty_arrays(shape, axis, kind, dtype):
    arrays = case(shape, axis, dtype)
    x, weight = arrays["x"], arrays["weight"]
    fused = functions(kind)[0](x, x, weight, arrays["bias"], p=0.5, rng=3, axis=axis)
    assert fused.y.shape == fused.sum.shape == shape
    got = functions(kind)[1](x, fused, weight, grad_sum=x, axis=axis)
    assert got.x.shape == got.residual.shape == shape
    assert not got.weight.any() and not got.bias.any()
    assert got.weight.shape == got.bias.shape == weight.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_every_argument(layout, kind):
    """Masks go by the index in C order, whatever the strides."""
    arrays = case((5, 7, 11), -1, np.float32)
    forward, backward, *_ = functions(kind)

    def results(names):
        fused = forward(*(names[name] for name in ("x", "residual", "weight", "bias")), p=0.3,
                        rng=(3, 4))  # fmt: skip
        got = backward(names["grad_y"], fused, names["weight"], grad_sum=names["grad_sum"])
        return (fused.y, fused.sum, fused.stats.inv_std, *got)

    for name, values in arrays.items():
        odd = LAYOUTS[layout](values)
        packed = np.ascontiguousarray(odd)
        expected = results({**arrays, name: packed})
        got = results({**arrays, name: odd})
        assert_same_bits(tuple(map(np.ascontiguousarray, got)), expected, f"{name} as {layout}")


# Results and arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy,
                                       lambda r: pickle.loads(pickle.dumps(r))])  # fmt: skip
def test_results_copy_compare_and_pickle(duplicate, kind):
    arrays = case((5, 37), -1, np.float32)
    fused = functions(kind)[0](arrays["x"], arrays["residual"], p=0.3, rng=3)
    gradients = functions(kind)[1](arrays["grad_y"], fused)
    for result in (fused, gradients):
        other = duplicate(result)
        assert type(other) is type(result) and other == result
        assert result != result._replace(**{result._fields[1]: arrays["x"]})
    assert fused != fused._replace(mask=nd.DropoutMask(3, 1, 0.3, (5, 37)))
    assert fused != fused._replace(stats=nd.NormStats(None, np.ones(5)))


def test_another_result_is_refused():
    arrays = case((5, 37), -1, np.float32)
    fused = nd.dropout_add_layer_norm_forward(arrays["x"], arrays["residual"])
    for wrong in (tuple(fused), None, fused.sum):
        with pytest.raises(TypeError, match=r"layer_norm_backward: fused must be a FusedNorm, got"):
            nd.dropout_add_layer_norm_backward(arrays["grad_y"], wrong)
    with pytest.raises(TypeError, match=r"fused\.mask must be a DropoutMask, got ndarray"):
        nd.dropout_add_rms_norm_backward(arrays["grad_y"], fused._replace(mask=fused.sum))
    wrong = fused._replace(mask=nd.DropoutMask(1, 2, 0.5, (37, 5)))
    with pytest.raises(ValueError, match=r"fused\.mask must have the shape \(5, 37\) of"):
        nd.dropout_add_layer_norm_backward(arrays["grad_y"], wrong)
    wrong = fused._replace(mask=nd.DropoutMask(1, 2, 0.5, (5, 37), shared_axes=1))
    with pytest.raises(ValueError, match=r"fused\.mask must have no shared_axes, got \(1,\)"):
        nd.dropout_add_layer_norm_backward(arrays["grad_y"], wrong)


# The comparison itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", ["sum", "grad_sum_twice", "grad_sum_lost", "undropped"])
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_results_are_rejected(kind, mutant, dtype):
    arrays = case((5, 37), -1, dtype)
    names = [f"dropout_add_{kind}_norm_{direction}" for direction in ("forward", "backward")]
    real = [getattr(nd, name) for name in names]

    def forward(*args, **options):
        fused = real[0](*args, **options)
        if mutant == "sum":
            fused.sum[2, 3] += PERTURBATION * np.spacing(fused.sum[2, 3]).astype(dtype)
        return fused

    def backward(grad_y, fused, weight, *, grad_sum, axis, bias):
        given = {"grad_sum_twice": grad_sum * 2, "grad_sum_lost": None}.get(mutant, grad_sum)
        got = real[1](grad_y, fused, weight, grad_sum=given, axis=axis, bias=bias)
        return got._replace(x=got.residual) if mutant == "undropped" else got

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nd, names[0], forward)
        patch.setattr(nd, names[1], backward)
        with pytest.raises(AssertionError):
            check(kind, arrays)


# PyTorch -----------------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    arrays = case((5, 37), -1, np.float32)
    fused = functions(kind)[0](
        arrays["x"], arrays["residual"], arrays["weight"], p=0.3, rng=3, eps=0.01
    )
    got = functions(kind)[1](
        arrays["grad_y"], fused, arrays["weight"], grad_sum=arrays["grad_sum"], bias=False
    )
    tensors = {
        name: torch.from_numpy(arrays[name].copy()).requires_grad_()
        for name in ("x", "residual", "weight")
    }
    kept = torch.from_numpy(fused.mask.keep * np.float32(fused.mask.scale))
    total = tensors["residual"] + tensors["x"] * kept
    norm = getattr(torch.nn.functional, f"{kind}_norm")
    y = norm(total, (37,), tensors["weight"], eps=0.01)
    grads = [torch.from_numpy(arrays[name]) for name in ("grad_y", "grad_sum")]
    torch.autograd.backward([y, total], grads)
    close_to_framework(fused.y, y)
    close_to_framework(fused.sum, total)
    for name, tensor in tensors.items():
        close_to_framework(getattr(got, name), tensor.grad)
