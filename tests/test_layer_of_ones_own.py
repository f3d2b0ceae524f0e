"""What a layer that a user writes names its arrays and layers with."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

from comparing import assert_same_bits
from layer_cases import data
from normdrop.experiments.network import MomentumSGD, Sequential
from normdrop.layers import BatchNorm, Layer


class Scale(Layer):
    """x times a weight for each column, counting its calls."""

    def __init__(self, columns):
        super().__init__()
        self.weight = self.add_parameter("weight", np.full(columns, 2.0))
        self.calls = self.add_buffer("calls", np.array(0))

    def _forward(self, x, training):
        self.calls += 1
        return x * self.weight, x

    def _backward(self, grad_output, saved):
        self.set_gradient("weight", (grad_output * saved).sum(axis=0))
        return grad_output * self.weight


class Residual(Layer):
    """x plus what the layers inside make of it."""

    def __init__(self):
        super().__init__()
        self.norm = self.add_layer("norm", BatchNorm(5, dtype=np.float64))
        self.scale = self.add_layer("scale", Scale(5))
        self.shift = self.add_parameter("shift", np.zeros(5))

    def _forward(self, x, training):
        return x + self.scale(self.norm(x, training), training) + self.shift, None

    def _backward(self, grad_output, saved):
        self.set_gradient("shift", grad_output.sum(axis=0))
        return grad_output + self.norm.backward(self.scale.backward(grad_output))


def test_arrays_that_were_named_are_the_layers_state():
    layer = Scale(5)
    assert layer.parameters()["weight"] is layer.weight
    assert list(layer.state_dict()) == ["weight", "calls"]
    layer(data())
    layer.backward(data("grad"))
    assert_same_bits(layer.gradients()["weight"], (data("grad") * data()).sum(axis=0))
    layer.load_state_dict({"weight": np.full(5, 3.0), "calls": 8})
    assert_same_bits(layer(data()), 3.0 * data())
    assert layer.calls == 9


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_arrays_of_its_own_that_it_still_uses(duplicate):
    other = duplicate(Scale(5))
    assert other.parameters()["weight"] is other.weight
    other.parameters()["weight"][...] = 1.0
    assert_same_bits(other(data()), data())


def test_an_optimiser_trains_it():
    layer = Scale(5)
    layer(data())
    layer.backward(data("grad"))
    MomentumSGD(layer, learning_rate=0.1).step()
    assert_same_bits(layer.weight, 2.0 - 0.1 * layer.gradients()["weight"])


def test_layers_inside_a_layer_are_named_behind_it():
    layer = Residual()
    names = ["shift", "norm.weight", "norm.bias", "scale.weight"]
    assert list(layer.parameters()) == names
    assert list(layer.children()) == ["norm", "scale"]
    assert layer.parameters()["norm.bias"] is layer.norm.bias
    layer(data())
    layer.backward(data("grad"))
    assert sorted(layer.gradients()) == sorted(names)
    assert "0.norm.running_mean" in Sequential(layer).state_dict()
    other = Residual()
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    assert_same_bits(other(data(), False), layer(data(), False))
    assert not layer.eval().norm.training


@pytest.mark.parametrize("training", [True, False])
def test_layers_inside_a_layer_keep_what_it_keeps(training):
    layer = Residual()
    layer(data(), training, for_backward=True)
    assert layer.backward(data("grad")).shape == (7, 5)
    layer(data(), training, for_backward=False)
    with pytest.raises(RuntimeError, match=r"Scale: .* for_backward=True"):
        layer.scale.backward(data("grad"))
    with pytest.raises(TypeError):
        layer([[1.0]], training, for_backward=False)
    layer.scale(data(), training=True)
    assert layer.scale.backward(data("grad")).shape == (7, 5)


def test_loading_takes_the_latest_forward_of_all_layers_away():
    layer = Residual()
    layer(data())
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="Residual"):
        layer.backward(data("grad"))
    with pytest.raises(RuntimeError, match="Scale"):
        layer.scale.backward(data("grad"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.add_parameter("weight", np.ones(2)), ValueError,
         "Scale: name must be none of ['weight', 'calls'] and without dots, got 'weight'"),
        (lambda x: x.add_buffer("weight", np.ones(2)), ValueError, "got 'weight'"),
        (lambda x: x.add_layer("calls", Scale(2)), ValueError, "got 'calls'"),
        (lambda x: x.add_buffer("a.b", np.ones(2)), ValueError, "without dots, got 'a.b'"),
        (lambda x: x.add_parameter("", np.ones(2)), ValueError, "got ''"),
        (lambda x: x.add_parameter(0, np.ones(2)), TypeError, "name must be a str, got int"),
        (lambda x: x.add_parameter("bias", [1.0]), TypeError,
         "Scale: 'bias' must be a numpy.ndarray, got list"),
        (lambda x: x.add_layer("inner", np.ones(2)), TypeError,
         "Scale: 'inner' must be a Layer, got ndarray"),
        (lambda x: x.set_gradient("wieght", np.ones(5)), ValueError,
         "Scale: a gradient must be that of one of ['weight'], got 'wieght'"),
        (lambda x: x.set_gradient("calls", np.array(1)), ValueError, "got 'calls'"),
        (lambda x: x.set_gradient("weight", np.ones((1, 5))), ValueError,
         "Scale: gradient 'weight' must have shape (5,), got (1, 5)"),
        (lambda x: x.set_gradient("weight", 1.0), TypeError,
         "Scale: 'weight' must be a numpy.ndarray, got float"),
    ],
)  # fmt: skip
def test_wrong_names_and_arrays(call, error, message):
    layer = Scale(5)
    with pytest.raises(error, match=re.escape(message)):
        call(layer)
    assert list(layer.state_dict()) == ["weight", "calls"] and layer.gradients() == {}
