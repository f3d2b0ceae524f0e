"""WeightNorm: a layer whose weight is made of a length and a direction before each call."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from layer_cases import data, randomise
from normdrop.experiments.network import Linear, MomentumSGD, Sequential
from normdrop.layers import BatchNorm, Dropout, Layer, LayerNorm, WeightNorm
from test_layers import central_differences
from tolerances import FINITE_DIFFERENCE_RELATIVE, LIMITS

EXACT = LIMITS["float64"].fence_relative


def linear(seed=0, **options):
    return Linear(5, 3, np.random.default_rng(seed), dtype=np.float64, **options)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_at_first_it_is_the_layer_inside(axis):
    plain, layer = linear(), WeightNorm(linear(), axis=axis)
    np.testing.assert_allclose(layer(data()), plain(data()), EXACT)
    np.testing.assert_allclose(layer.weight, plain.weight, EXACT)
    shape = (3, 1) if axis == 0 else (1, 5)
    assert layer.weight_g.shape == shape and layer.weight_v.shape == (3, 5)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_agree_with_finite_differences(axis):
    layer, x, grad = WeightNorm(linear(), axis=axis), data(), normal((7, 3), np.float64, "grad")
    for name, array in layer.parameters().items():
        array += 0.3 * parameter(array.shape, array.dtype, name)

    def loss():
        return float((copy.deepcopy(layer)(x) * grad).sum())

    layer(x)
    found = {"x": layer.backward(grad), **layer.gradients()}
    assert set(found) == {"x", "weight_g", "weight_v", "bias"}
    for key, array in {"x": x, **layer.parameters()}.items():
        assert found[key].shape == array.shape
        expected = central_differences(loss, array)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(
            found[key], expected, rtol=0, atol=FINITE_DIFFERENCE_RELATIVE * scale, err_msg=key
        )


def test_the_weight_has_the_length_that_is_asked_for():
    layer = WeightNorm(linear())
    layer.weight_g[...] = [[2.0], [0.5], [-3.0]]
    np.testing.assert_allclose(np.linalg.norm(layer.weight, axis=1), [2.0, 0.5, 3.0], EXACT)
    layer(data())
    assert_same_bits(layer.layer.weight, layer.weight)


def test_the_size_of_v_changes_nothing_but_its_gradient():
    first, second = WeightNorm(linear()), WeightNorm(linear())
    second.weight_v[...] *= 4.0
    assert_same_bits(second(data()), first(data()))
    grad = normal((7, 3), np.float64, "grad")
    assert_same_bits(first.backward(grad), second.backward(grad))
    ours, theirs = first.gradients(), second.gradients()
    np.testing.assert_allclose(ours["weight_v"], 4.0 * theirs["weight_v"], EXACT)
    np.testing.assert_allclose((ours["weight_v"] * first.weight_v).sum(1), 0, atol=1e-13)


def test_training_moves_length_and_direction():
    """The network's optimiser sees them in the place of the weight, and v only grows."""
    layer, x = WeightNorm(linear()), normal((64, 5), np.float64, "x")
    target = x @ normal((5, 3), np.float64, "target")
    optimiser = MomentumSGD(layer, learning_rate=0.05, momentum=0.0)
    losses, lengths = [], []
    for _ in range(200):
        error = layer(x) - target
        losses.append(float((error**2).mean()))
        lengths.append(np.linalg.norm(layer.weight_v, axis=1))
        layer.backward(2 * error / len(x))
        optimiser.step()
    assert losses[-1] < 0.01 * losses[0]
    assert (np.diff(lengths, axis=0) >= -EXACT).all()


def test_arrays_of_the_layer_inside_go_by_their_names():
    batch_norm = BatchNorm(5, dtype=np.float64)
    layer = WeightNorm(batch_norm)
    assert list(layer.parameters()) == ["weight_g", "weight_v", "bias"]
    assert layer.parameters()["bias"] is batch_norm.bias
    layer(data())
    assert batch_norm.num_batches_tracked == 1
    assert_same_bits(layer.state_dict()["running_mean"], batch_norm.running_mean)
    other = WeightNorm(BatchNorm(5, dtype=np.float64))
    randomise(layer)
    layer.weight_v[...] = 1.0
    other.load_state_dict(layer.state_dict())
    assert_same_bits(other(data(), False), layer(data(), False))
    assert other.layer.num_batches_tracked == 1


def test_layers_within_the_layer_inside_belong_to_it():
    class Scaled(Layer):
        """A weight, and a dropout inside."""

        def __init__(self):
            super().__init__()
            self.weight = self.add_parameter("weight", np.ones((5, 2)))
            self.dropout = self.add_layer("dropout", Dropout(0.5, rng=3))

        def _forward(self, x, training):
            return self.dropout(x, training) @ self.weight, x

        def _backward(self, grad_output, saved):
            self.set_gradient("weight", saved.T @ grad_output)
            return self.dropout.backward(grad_output @ self.weight.T)

    layer = WeightNorm(Scaled(), axis=1)
    assert list(layer.state_dict()) == ["weight_g", "weight_v", "dropout.seed", "dropout.call"]
    layer(data())
    assert layer.backward(normal((7, 2), np.float64, "grad")).shape == (7, 5)
    assert layer.layer.dropout.call == 1
    layer.eval()
    assert not layer.layer.training and not layer.layer.dropout.training
    layer(data())
    assert layer.layer.dropout.call == 1


def test_the_mode_and_what_is_kept_reach_the_layer_inside():
    inner = BatchNorm(5, dtype=np.float64)
    layer = WeightNorm(inner)
    layer(data(), training=False)
    assert inner.num_batches_tracked == 0
    with pytest.raises(RuntimeError, match="WeightNorm: backward needs"):
        layer.backward(data("grad"))
    layer(data(), training=False, for_backward=True)
    layer.backward(data("grad"))
    layer(data())
    layer.load_state_dict(layer.state_dict())
    for each in (layer, inner):
        with pytest.raises(RuntimeError, match="backward needs"):
            each.backward(data("grad"))
    assert WeightNorm(BatchNorm(5).eval()).training is False


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_a_layer_inside_of_its_own(duplicate):
    layer = WeightNorm(linear())
    other = duplicate(layer)
    other.parameters()["bias"] += 1.0
    other.weight_g[...] *= 2.0
    np.testing.assert_allclose(other(data()) - 1.0, 2.0 * layer(data()), EXACT, EXACT)
    assert other.layer.bias is other.parameters()["bias"]


def test_names_of_both_kinds_are_too_many():
    layer = WeightNorm(linear())
    state = layer.state_dict()
    extra = {"parametrizations.weight.original0": np.ones((3, 1))}
    with pytest.raises(ValueError, match=r"with \['parametrizations\.weight\.original0'\]"):
        layer.load_state_dict(state | extra)
    g = state.pop("weight_g")
    layer.load_state_dict(state | {"parametrizations.weight.original0": g * 2})
    np.testing.assert_allclose(layer.weight_g, 2 * g)
    with pytest.raises(ValueError, match=r"without \['weight_g'\]"):
        layer.load_state_dict(state)
    keys = Sequential(layer).load_state_dict({"0.weight": np.ones((3, 5))}, strict=False)
    assert keys.unexpected_keys == ["0.weight"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WeightNorm(np.ones(3)), TypeError, "layer must be a Layer, got ndarray"),
        (lambda: WeightNorm(Dropout(0.5)), ValueError, r"'weight', got Dropout with \[\]"),
        (lambda: WeightNorm(WeightNorm(linear())), ValueError, "got WeightNorm with"),
        (lambda: WeightNorm(linear(), axis=2), ValueError, "axis must be one of the 2 .* got 2"),
        (lambda: WeightNorm(linear(), axis=-3), ValueError, "axis must be one of the 2 .* got -3"),
        (lambda: WeightNorm(linear(), axis=None), TypeError, "axis must be an integer, got None"),
        (lambda: WeightNorm(linear(scale=0.0)), ValueError, "no direction, got 0 at index 0 of"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=f"^WeightNorm: .*{message}"):
        make()


def test_it_equals_the_functions():
    layer, x, grad = WeightNorm(linear()), data(), normal((7, 3), np.float64, "grad")
    g = layer.weight_g.ravel()
    w, norm = nd.weight_norm_forward(layer.weight_v, g)
    assert_same_bits(layer(x), x @ w.T + layer.layer.bias)
    layer.backward(grad)
    grad_v, grad_g = nd.weight_norm_backward(grad.T @ x, layer.weight_v, g, norm)
    assert_same_bits(layer.gradients()["weight_v"], grad_v)
    assert_same_bits(layer.gradients()["weight_g"].ravel(), grad_g)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_of_other_dtypes(dtype):
    layer = WeightNorm(LayerNorm((7, 5), dtype=dtype), axis=1)
    x = data(dtype=layer.layer.dtype)
    assert layer.weight_g.dtype == layer.weight_v.dtype == layer.layer.dtype
    assert layer(x).dtype == layer.layer.dtype
    layer.backward(x)
    assert {array.dtype for array in layer.gradients().values()} == {layer.layer.dtype}
