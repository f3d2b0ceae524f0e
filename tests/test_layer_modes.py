"""The mode of a layer, and what a call keeps for a backward."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import weakref

import numpy as np
import pytest

from comparing import assert_same_bits
from layer_cases import ALL_LAYERS, data
from normdrop.experiments.network import Linear, Sequential, Sigmoid
from normdrop.layers import BatchNorm, Dropout, Layer


@pytest.fixture(params=ALL_LAYERS)
def layer(request):
    return ALL_LAYERS[request.param]()


def network():
    rng = np.random.default_rng(3)
    return Sequential(
        Linear(5, 5, rng, dtype=np.float64), *(make() for make in ALL_LAYERS.values()), Sigmoid()
    )


# The mode ----------------------------------------------------------------------------------------


def test_the_mode_is_training_at_first_and_a_setting_returns_the_layer(layer):
    assert layer.training is True
    assert layer.eval() is layer and layer.training is False
    assert layer.train() is layer and layer.training is True
    assert layer.train(False) is layer and layer.training is False


@pytest.mark.parametrize("training", [True, False])
def test_a_call_without_a_mode_has_that_of_the_layer(layer, training):
    other = copy.deepcopy(layer)
    layer.train(training)
    assert_same_bits(layer(data()), other(data(), training))
    assert_same_bits(layer(data("second"), None), other(data("second"), training))


def test_a_mode_that_is_given_wins_and_stays_out_of_the_layer(layer):
    other = copy.deepcopy(layer)
    layer.eval()
    assert_same_bits(layer(data(), training=True), other(data(), training=True))
    layer.train()
    assert_same_bits(layer(data(), training=False), other(data(), training=False))
    assert layer.training is True


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_in_the_same_mode(layer, duplicate):
    assert duplicate(layer.eval()).training is False


@pytest.mark.parametrize("wrong", ["yes", 1, data()])
def test_a_mode_must_be_a_flag(layer, wrong):
    name, kind = type(layer).__name__, re.escape(type(wrong).__name__)
    with pytest.raises(TypeError, match=f"{name}: training must be True or False, got {kind}"):
        layer(data(), wrong)
    with pytest.raises(TypeError, match=f"{name}: mode must be True or False, got {kind}"):
        layer.train(wrong)
    with pytest.raises(TypeError, match=f"{name}: for_backward must be True or False, got {kind}"):
        layer(data(), for_backward=wrong)


def test_a_network_sets_the_mode_of_its_layers():
    net = network()
    assert net.eval() is net
    assert [layer.training for layer in net.layers] == [False] * len(net.layers)
    assert_same_bits(net(data()), copy.deepcopy(net)(data(), training=False))
    outer = Sequential(net)
    outer.train()
    assert all(layer.training for layer in net.layers)


def test_a_layer_of_a_network_may_have_a_mode_of_its_own():
    """A batch norm that is frozen while the layers around it train."""
    frozen, dropout = BatchNorm(5, dtype=np.float64), Dropout(0.5, rng=1)
    net = Sequential(frozen.eval(), dropout)
    net(data(), for_backward=True)
    assert frozen.num_batches_tracked == 0 and dropout.call == 1
    net.backward(data("grad"))
    net(data(), training=True)
    assert frozen.num_batches_tracked == 1


# What a call keeps -------------------------------------------------------------------------------


class Doubled(Layer):
    """A layer that asks to remember x itself."""

    def _forward(self, x, training):
        return 2 * x, x

    def _backward(self, grad_output, saved):
        return 2 * grad_output


def x_lives_after(layer, *arguments, **keywords):
    x = data()
    layer(x, *arguments, **keywords)
    watch = weakref.ref(x)
    del x
    gc.collect()
    return watch() is not None


@pytest.mark.parametrize("make", [*ALL_LAYERS.values(), Doubled, network])
def test_inference_keeps_nothing_alive(make):
    assert not x_lives_after(make(), training=False)
    assert not x_lives_after(make().eval())
    assert not x_lives_after(make(), training=True, for_backward=False)
    layer = make()
    layer(data())
    assert not x_lives_after(layer, training=False), "after a call in training"


def test_training_keeps_x_until_its_backward():
    for layer in (BatchNorm(5, dtype=np.float64), Doubled()):
        assert x_lives_after(layer)
        assert x_lives_after(layer, training=False, for_backward=True)
    x = data()
    watch = weakref.ref(x)
    layer(x)
    layer.backward(data("grad"))
    del x
    gc.collect()
    assert watch() is None


def test_a_backward_after_a_call_that_kept_nothing_says_how_to_ask_for_it(layer):
    message = (
        f"{type(layer).__name__}: backward needs a forward call that keeps what it needs: at "
        "inference layer(x, training=False, for_backward=True)"
    )
    for make_call in (lambda: layer(data(), False), lambda: layer(data(), for_backward=False)):
        make_call()
        with pytest.raises(RuntimeError, match=re.escape(message)):
            layer.backward(data("grad"))
    layer(data())
    layer.backward(data("grad"))
    with pytest.raises(RuntimeError, match="only one backward"):
        layer.backward(data("grad"))


def test_a_temporary_x_at_inference_can_be_differentiated(layer):
    x = data(rows=9)
    layer(x[:7], training=False, for_backward=True)
    gc.collect()
    assert layer.backward(data("grad")).shape == (7, 5)


def test_a_network_at_inference_can_be_differentiated():
    net = network().eval()
    net(data(), for_backward=True)
    assert net.backward(data("grad")).shape == (7, 5)
    net(data())
    with pytest.raises(RuntimeError, match=r"Sigmoid: backward needs .* for_backward=True"):
        net.backward(data("grad"))


def test_a_layer_may_have_nothing_to_remember():
    class Negated(Layer):
        def _forward(self, x, training):
            return -x, None

        def _backward(self, grad_output, saved):
            assert saved is None
            return -grad_output

    layer = Negated()
    layer(data())
    assert_same_bits(layer.backward(data("grad")), -data("grad"))
    with pytest.raises(RuntimeError, match="only one backward"):
        layer.backward(data("grad"))
