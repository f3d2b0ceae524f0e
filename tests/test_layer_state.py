"""State of layers: copies, names, checkpoints."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from comparing import assert_same_bits
from layer_cases import ALL_LAYERS, data, randomise
from normdrop.layers import (
    BatchNorm,
    Dropout,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PReLU,
    RMSNorm,
    WeightNorm,
)


@pytest.fixture(params=ALL_LAYERS)
def layer(request):
    return ALL_LAYERS[request.param]()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_like_its_original_and_apart_from_it(layer, duplicate):
    randomise(layer)
    layer(data("first"))
    other = duplicate(layer)
    assert_same_bits(other.backward(data("grad")), layer.backward(data("grad")))
    assert_same_bits(other(data()), layer(data()))
    before = layer.state_dict()
    other(data("second"))
    for array in other.parameters().values():
        array += 1.0
    for name, array in layer.state_dict().items():
        assert_same_bits(array, before[name], name)


def test_state_round_trip_gives_the_same_results(layer):
    fresh = copy.deepcopy(layer)
    randomise(layer)
    layer(data("first"))
    fresh.load_state_dict(layer.state_dict())
    assert_same_bits(fresh(data(), False), layer(data(), False))
    assert_same_bits(fresh(data(), True), layer(data(), True))
    assert_same_bits(
        tuple(fresh.state_dict().values()), tuple(layer.state_dict().values()), "state"
    )


def test_state_dict_holds_copies(layer):
    for array in layer.state_dict().values():
        array[...] = 9
    assert all((array != 9).all() for array in layer.state_dict().values())


def test_parameters_are_the_arrays_in_use():
    layer = BatchNorm(5, dtype=np.float64)
    layer.parameters()["bias"] += 2.5
    assert np.array_equal(layer.bias, np.full(5, 2.5))
    assert np.allclose(layer(data()).mean(axis=0), 2.5)


def test_names_are_those_of_pytorch():
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(BatchNorm(3).state_dict()) == names
    assert list(BatchNorm(3, affine=False).state_dict()) == names[2:]
    assert list(LayerNorm(3).state_dict()) == names[:2]
    assert list(LayerNorm(3, bias=False).state_dict()) == names[:1]
    assert list(LayerNorm(3, affine=False).state_dict()) == []
    assert list(Dropout(0.1).state_dict()) == ["seed", "call"]
    assert list(RMSNorm(3).state_dict()) == names[:1]
    assert list(RMSNorm(3, bias=True).state_dict()) == names[:2]
    assert list(GroupNorm(1, 3).state_dict()) == names[:2]
    assert list(InstanceNorm(3).state_dict()) == []
    assert list(InstanceNorm(3, affine=True).state_dict()) == names[:2]
    assert list(PReLU().state_dict()) == names[:1]
    assert list(WeightNorm(BatchNorm(3)).state_dict()) == ["weight_g", "weight_v", *names[1:]]


def checkpoint(**changes):
    return {**BatchNorm(3).state_dict(), **changes}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (
            checkpoint(extra=np.ones(3)),
            ValueError,
            r"BatchNorm: state must have .* without \[\] and with \['extra'\]; strict=False",
        ),
        (
            {"weight": np.ones(3)},
            ValueError,
            r"BatchNorm: state must have the names .* without \['bias', .*\] and with \[\]",
        ),
        (
            checkpoint(running_var=np.ones(4)),
            ValueError,
            r"BatchNorm: state 'running_var' must have shape \(3,\), got \(4,\)",
        ),
        (
            checkpoint(running_var=[1.0] * 3),
            TypeError,
            r"BatchNorm: state 'running_var' must be a numpy.ndarray, got list",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(state, error, message):
    layer = BatchNorm(3)
    state["weight"] = np.full(3, 7.0, np.float32)
    with pytest.raises(error, match=message):
        layer.load_state_dict(state)
    assert np.array_equal(layer.weight, np.ones(3))


def test_loading_a_state_takes_the_latest_forward_away(layer):
    layer(data())
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError):
        layer.backward(data("grad"))
