"""Layers: the order of calls, modes, layer norm and dropout, and gradients through them."""

from __future__ import annotations

import copy
import doctest

import numpy as np
import pytest

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from layer_cases import ALL_LAYERS, data, randomise
from normdrop.layers import (
    Dropout,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    PReLU,
    RMSNorm,
    base,
    batch_norm,
    layer_norm,
)
from normdrop.layers import dropout as dropout_module
from tolerances import (
    FINITE_DIFFERENCE_RELATIVE,
    FINITE_DIFFERENCE_STEP,
    LIMITS,
)

EXACT = LIMITS["float64"].fence_relative


@pytest.fixture(params=ALL_LAYERS)
def layer(request):
    return ALL_LAYERS[request.param]()


# The order of calls ------------------------------------------------------------------------------


def test_backward_before_a_forward_is_an_error(layer):
    with pytest.raises(RuntimeError, match=f"{type(layer).__name__}: backward needs a forward"):
        layer.backward(data())


@pytest.mark.parametrize("training", [True, False])
def test_backward_twice_is_an_error(layer, training):
    layer(data(), training, for_backward=True)
    layer.backward(data("grad"))
    with pytest.raises(RuntimeError, match="only one"):
        layer.backward(data("grad"))


def test_a_wrong_gradient_does_not_use_up_the_forward(layer):
    layer(data())
    with pytest.raises(ValueError, match="grad_output"):
        layer.backward(data("grad", rows=3))
    assert layer.backward(data("grad")).shape == (7, 5)


def test_a_failing_forward_leaves_nothing_to_differentiate(layer):
    layer(data())
    with pytest.raises(TypeError, match="list"):
        layer([[1.0] * 5])
    with pytest.raises(RuntimeError):
        layer.backward(data("grad"))


@pytest.mark.parametrize("training", [True, False])
def test_inputs_stay_and_results_are_new(layer, training, unchanged):
    x, grad = data(), data("grad")
    unchanged(x, grad)
    y = layer(x, training, for_backward=True)
    grad_x = layer.backward(grad)
    assert not np.shares_memory(y, x) and not np.shares_memory(grad_x, grad)


def test_the_base_class_leaves_the_work_to_others():
    with pytest.raises(NotImplementedError):
        Layer()(data())


# Layer norm --------------------------------------------------------------------------------------


def test_layer_norm_over_trailing_axes_equals_the_function():
    layer = LayerNorm((3, 5), dtype=np.float64)
    randomise(layer)
    x, grad = normal((2, 7, 3, 5), np.float64, "x"), normal((2, 7, 3, 5), np.float64, "grad")
    y, stats = nd.layer_norm_forward(x, layer.weight, layer.bias, axis=(-2, -1))
    expected = nd.layer_norm_backward(grad, x, stats, layer.weight, axis=(-2, -1))
    assert_same_bits(layer(x, training=False, for_backward=True), y)
    assert_same_bits(layer.backward(grad), expected.x)
    assert_same_bits(layer.gradients()["weight"], expected.weight)
    assert_same_bits(layer.gradients()["bias"], expected.bias)


def test_layer_norm_over_channels_first():
    layer = LayerNorm(3, axis=1, dtype=np.float64)
    x = normal((2, 3, 5, 7), np.float64, "x")
    np.testing.assert_allclose(layer(x).mean(axis=1), 0, atol=EXACT)


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_of_a_wrong_shape(affine):
    with pytest.raises(ValueError, match=r"\(4,\)"):
        LayerNorm(4, affine=affine, dtype=np.float64)(data())


# Layers that are their function and parameters ---------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name", "before", "options"),
    [
        (RMSNorm((5, 7), eps=0.1, bias=True, dtype=np.float64), "rms_norm", (),
         {"axis": (-2, -1), "eps": 0.1}),
        (RMSNorm(5, axis=2, dtype=np.float64), "rms_norm", (), {"axis": 2}),
        (GroupNorm(2, 6, eps=0.1, dtype=np.float64), "group_norm", (2,), {"eps": 0.1}),
        (GroupNorm(1, 7, channel_axis=-1, dtype=np.float64), "group_norm", (1,),
         {"channel_axis": -1}),
        (GroupNorm(3, 6, affine=False), "group_norm", (3,), {}),
        (InstanceNorm(6, eps=0.1), "instance_norm", (), {"eps": 0.1}),
        (InstanceNorm(7, affine=True, channel_axis=-1, dtype=np.float64), "instance_norm", (),
         {"channel_axis": -1}),
    ],
)  # fmt: skip
def test_a_norm_equals_its_function(layer, name, before, options):
    randomise(layer)
    x, grad = normal((3, 6, 5, 7), np.float64, "x"), normal((3, 6, 5, 7), np.float64, "grad")
    y, stats = getattr(nd, f"{name}_forward")(x, *before, layer.weight, layer.bias, **options)
    options.pop("eps", None)
    has_bias = layer.bias is not None
    expected = getattr(nd, f"{name}_backward")(
        grad, x, stats, *before, layer.weight, bias=has_bias, **options
    )
    assert_same_bits(layer(x, training=False, for_backward=True), y)
    assert_same_bits(layer.backward(grad), expected.x)
    own = {"weight": expected.weight, "bias": expected.bias}
    own = {key: array for key, array in own.items() if array is not None}
    assert set(layer.gradients()) == set(own) == set(layer.parameters())
    for key, array in own.items():
        assert_same_bits(layer.gradients()[key], array)


@pytest.mark.parametrize(("count", "axis"), [(1, 1), (6, 1), (7, -1)])
def test_prelu_equals_its_function(count, axis):
    layer = PReLU(count, init=-0.5, channel_axis=axis, dtype=np.float64)
    assert layer.weight.tolist() == [-0.5] * count and layer.bias is None
    x, grad = normal((3, 6, 7), np.float64, "x"), normal((3, 6, 7), np.float64, "grad")
    assert_same_bits(layer(x), nd.prelu(x, layer.weight, channel_axis=axis))
    expected = nd.prelu_backward(grad, x, layer.weight, channel_axis=axis)
    assert_same_bits(layer.backward(grad), expected.x)
    assert_same_bits(layer.gradients()["weight"], expected.weight)


def test_the_slope_of_prelu_starts_at_a_quarter():
    assert PReLU().weight.tolist() == [0.25]


# Dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_original_at_inference_is_q_times_inverted(p):
    x, grad = data(), data("grad")
    inverted, original = Dropout(p, rng=1), Dropout(p, mode="original", rng=1)
    y, expected = (layer(x, False, for_backward=True) for layer in (original, inverted))
    np.testing.assert_allclose(y, (1 - p) * expected, EXACT)
    np.testing.assert_allclose(original.backward(grad), (1 - p) * inverted.backward(grad), EXACT)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_original_in_training_keeps_elements_exactly(p):
    x, grad = data(), data("grad")
    x[0, 0] = np.inf
    layer = Dropout(p, mode="original", rng=(8, 4))
    keep = nd.DropoutMask(8, 4, p, x.shape).keep
    assert_same_bits(layer(x), np.where(keep, x, 0.0))
    assert_same_bits(layer.backward(grad), np.where(keep, grad, 0.0))


def test_inverted_equals_the_functions():
    x, grad = data(), data("grad")
    layer = Dropout(0.3, rng=(8, 4))
    y, mask = nd.dropout_forward(x, 0.3, rng=(8, 4))
    assert_same_bits(layer(x), y)
    assert_same_bits(layer.backward(grad), nd.dropout_backward(grad, mask))


def test_scaled_weights_equal_scaled_activations():
    """At inference the original form may as well multiply the next layer's weights by q."""
    x, weight = data(), normal((3, 5), np.float64, "weight")
    layer = Dropout(0.2, mode="original", rng=1)
    np.testing.assert_allclose(layer(x, False) @ weight.T, x @ (0.8 * weight).T, EXACT, EXACT)


def test_inference_is_the_identity_and_draws_nothing():
    layer = Dropout(0.5, rng=1)
    assert_same_bits(layer(data(), training=False, for_backward=True), data())
    assert_same_bits(layer.backward(data("grad")), data("grad"))
    assert (layer.seed, layer.call) == (1, 0)


def test_every_call_in_training_has_a_mask_of_its_own_that_its_number_fixes():
    x = np.ones((50, 50))
    layer = Dropout(0.5, rng=6)
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second)
    assert layer.call == 2
    assert_same_bits(Dropout(0.5, rng=(6, 1))(x), second)


def test_seeds_of_a_layer():
    draw = np.random.default_rng(5).integers(0, 2**64 - 1, dtype=np.uint64, endpoint=True)
    assert Dropout(0.5, rng=np.random.default_rng(5)).seed == int(draw)
    assert Dropout(0.5).seed != Dropout(0.5).seed
    assert Dropout(0.5, rng=2**64 - 1).seed == 2**64 - 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, "p must be"),
        ({"p": float("nan")}, ValueError, "p must be"),
        ({"p": "half"}, TypeError, "p must be"),
        ({"mode": "other"}, ValueError, "mode must be 'inverted' or 'original', got 'other'"),
        ({"rng": -1}, ValueError, "rng must be"),
        ({"rng": 0.5}, TypeError, "rng must be"),
        ({"rng": (1, 2, 3)}, ValueError, "rng must be"),
    ],
)
def test_wrong_dropout_arguments(arguments, error, message):
    with pytest.raises(error, match=f"Dropout: {message}"):
        Dropout(**arguments)


# Gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ALL_LAYERS)
def test_gradients_agree_with_finite_differences(name, training):
    layer = ALL_LAYERS[name]()
    layer(data("first"))
    randomise(layer)
    x, grad = data(), data("grad")
    state = layer.state_dict()

    def loss():
        probe = copy.deepcopy(layer)  # a probe must not move running statistics or calls
        return float((probe(x, training) * grad).sum())

    layer(x, training, for_backward=True)
    found = {"x": layer.backward(grad), **layer.gradients()}
    layer.load_state_dict(state)
    for key, array in {"x": x, **layer.parameters()}.items():
        expected = central_differences(loss, array)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found[key], expected, rtol=0, atol=FINITE_DIFFERENCE_RELATIVE * scale, err_msg=key
        )


def central_differences(loss, array):
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + FINITE_DIFFERENCE_STEP
        above = loss()
        array[index] = value - FINITE_DIFFERENCE_STEP
        below = loss()
        array[index] = value
        gradient[index] = (above - below) / (2 * FINITE_DIFFERENCE_STEP)
    return gradient


@pytest.mark.parametrize("module", [base, batch_norm, layer_norm, dropout_module])
def test_examples_in_the_documentation_run(module):
    assert doctest.testmod(module).failed == 0
