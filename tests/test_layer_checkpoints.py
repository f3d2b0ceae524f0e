"""States of layers from files and from other libraries: dtypes, names, what does not fit."""

from __future__ import annotations

import re

import numpy as np
import pytest

from cases import DTYPES, bfloat16, normal
from comparing import assert_same_bits
from layer_cases import ALL_LAYERS, randomise
from normdrop.experiments.network import Linear, Sequential
from normdrop.layers import (
    BatchNorm,
    Dropout,
    GroupNorm,
    IncompatibleKeys,
    InstanceNorm,
    LayerNorm,
    PReLU,
    RMSNorm,
    WeightNorm,
)
from tolerances import FRAMEWORK_RELATIVE

# Dtypes, and files of NumPy ----------------------------------------------------------------------


def through_a_file(state, folder):
    np.savez(folder / "state.npz", **state)
    with np.load(folder / "state.npz") as saved:
        return dict(saved)


AFFINE = {
    "BatchNorm": lambda dtype: BatchNorm(5, dtype=dtype),
    "LayerNorm": lambda dtype: LayerNorm(5, dtype=dtype),
    "RMSNorm": lambda dtype: RMSNorm(5, dtype=dtype),
    "GroupNorm": lambda dtype: GroupNorm(1, 5, dtype=dtype),
    "InstanceNorm": lambda dtype: InstanceNorm(5, affine=True, dtype=dtype),
    "PReLU": lambda dtype: PReLU(5, dtype=dtype),
    "WeightNorm": lambda dtype: WeightNorm(LayerNorm(5, dtype=dtype)),
    "Linear": lambda dtype: Linear(5, 5, np.random.default_rng(2), dtype=dtype),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", AFFINE)
def test_a_state_survives_savez(name, dtype, tmp_path):
    layer, fresh = AFFINE[name](dtype), AFFINE[name](dtype)
    randomise(layer)
    assert fresh.load_state_dict(through_a_file(layer.state_dict(), tmp_path)) == ([], [])
    for key, array in layer.state_dict().items():
        assert_same_bits(fresh.state_dict()[key], array, key)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_open_file_is_a_state(dtype, tmp_path):
    layer, fresh = LayerNorm(5, dtype=dtype), LayerNorm(5, dtype=dtype)
    randomise(layer)
    np.savez(tmp_path / "state.npz", **layer.state_dict())
    with np.load(tmp_path / "state.npz") as saved:
        fresh.load_state_dict(saved)
    assert_same_bits(fresh.weight, layer.weight)


@pytest.mark.parametrize("rng", [(2**64 - 1, 2**63), (7, 0)])
def test_a_seed_survives_savez(rng, tmp_path):
    layer = Dropout(0.5)
    layer.load_state_dict(through_a_file(Dropout(0.5, rng=rng).state_dict(), tmp_path))
    assert (layer.seed, layer.call) == rng


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_network_survives_savez(dtype, tmp_path):
    layers = [make(dtype) for make in AFFINE.values()]
    net = Sequential(*layers, Dropout(0.5, rng=3))
    fresh = Sequential(*(make(dtype) for make in AFFINE.values()), Dropout(0.5, rng=4))
    randomise(net)
    fresh.load_state_dict(through_a_file(net.state_dict(), tmp_path))
    for key, array in net.state_dict().items():
        assert_same_bits(fresh.state_dict()[key], array, key)


def test_raw_bytes_name_the_layer_the_key_and_the_cure(tmp_path):
    state = through_a_file(LayerNorm(5, dtype=bfloat16).state_dict(), tmp_path)
    layer = LayerNorm(5)
    message = (
        "LayerNorm: state 'weight' must have a real dtype, to go into float32, got |V2; raw bytes "
        "are what numpy.load makes of a dtype that it does not know: pass "
        "array.view(ml_dtypes.bfloat16), or .view() of the dtype that was saved"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        layer.load_state_dict(state)
    layer.load_state_dict({name: state[name].view(bfloat16) for name in state})
    nested = Sequential(BatchNorm(5), layer)
    arrays = BatchNorm(5).state_dict()
    arrays = {f"0.{name}": array for name, array in arrays.items()}
    arrays |= {f"1.{name}": state[name] for name in state}
    with pytest.raises(TypeError, match=r"LayerNorm: state '1\.weight' must have .* got \|V2"):
        nested.load_state_dict(arrays)


@pytest.mark.parametrize("dtype", ["V1", "V4", "V8", [("low", "u1"), ("high", "u1")]])
def test_other_raw_bytes_are_refused_by_a_layer_of_bfloat16_too(dtype):
    layer = LayerNorm(5, dtype=bfloat16)
    with pytest.raises(TypeError, match=r"LayerNorm: state 'bias' must have a real dtype.*\.view"):
        layer.load_state_dict({"weight": np.ones(5), "bias": np.zeros(5, dtype)})
    assert np.array_equal(layer.weight, np.ones(5, bfloat16))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weight": np.ones(3, complex)}, TypeError, "'weight' must have a real dtype, .* complex"),
        ({"weight": np.array(["1"] * 3)}, TypeError, "'weight' must have a real dtype, .* <U1"),
        ({"num_batches_tracked": 0.5}, TypeError, "must have an integer dtype, .* float64"),
        ({"num_batches_tracked": 2**63}, ValueError, "must hold numbers of int64, got 92233"),
        ({"num_batches_tracked": 2**70}, TypeError, "must have an integer dtype, .* object"),
    ],
)
def test_values_that_would_change_are_refused(changes, error, message):
    layer = BatchNorm(3)
    with pytest.raises(error, match=f"BatchNorm: state .*{message}"):
        layer.load_state_dict(BatchNorm(3).state_dict() | changes)


def test_floats_of_any_width_are_converted():
    for dtype in DTYPES:
        layer = LayerNorm(3)
        layer.load_state_dict({"weight": np.full(3, 0.5, dtype), "bias": np.array([1, 2, 3])})
        assert layer.weight.dtype == np.float32 and (layer.weight == 0.5).all()
        assert (layer.bias == [1, 2, 3]).all()


# Names: strict, and layers in a network ----------------------------------------------------------


@pytest.mark.parametrize("name", ALL_LAYERS)
def test_a_state_that_fits_leaves_no_names_out(name):
    layer = ALL_LAYERS[name]()
    keys = layer.load_state_dict(layer.state_dict())
    assert isinstance(keys, IncompatibleKeys)
    assert keys.missing_keys == [] and keys.unexpected_keys == []


def test_names_that_do_not_fit_are_left_out_on_demand():
    layer = BatchNorm(3)
    state = {"weight": np.full(3, 7.0), "running_mean": np.full(3, 2.0), "old": np.ones(9)}
    keys = layer.load_state_dict(state, strict=False)
    assert keys == (["bias", "running_var", "num_batches_tracked"], ["old"])
    assert (layer.weight == 7).all() and (layer.running_mean == 2).all()
    assert (layer.bias == 0).all() and (layer.running_var == 1).all()
    with pytest.raises(ValueError, match=r"'weight' must have shape \(3,\), got \(4,\)"):
        layer.load_state_dict({"weight": np.ones(4)}, strict=False)
    with pytest.raises(TypeError, match="'weight' must have a real dtype"):
        layer.load_state_dict({"bias": np.ones(3), "weight": np.ones(3, "V2")}, strict=False)
    assert (layer.bias == 0).all()
    with pytest.raises(TypeError, match="strict must be True or False, got str"):
        layer.load_state_dict(state, "no")


@pytest.mark.frameworks
def test_what_is_left_out_is_what_pytorch_leaves_out():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.BatchNorm1d(3), BatchNorm(3)
    state = {"weight": np.ones(3, np.float32), "old": np.ones(1, np.float32)}
    state["num_batches_tracked"] = np.array(3)  # without it PyTorch assumes an old checkpoint
    expected = theirs.load_state_dict(
        {name: torch.from_numpy(array) for name, array in state.items()}, strict=False
    )
    keys = ours.load_state_dict(state, strict=False)
    assert tuple(keys) == tuple(expected) and keys._fields == expected._fields


def test_messages_about_a_network_hold_the_whole_name():
    net = Sequential(LayerNorm(3), Sequential(BatchNorm(3)))
    state = net.state_dict()
    cases = [
        (state | {"1.0.weight": np.ones(4)}, ValueError, r"BatchNorm: state '1\.0\.weight' must"),
        (state | {"0.bias": [1.0]}, TypeError, r"LayerNorm: state '0\.bias' must"),
        (state | {"2.bias": np.ones(3)}, ValueError, r"Sequential: .* with \['2\.bias'\]"),
        ({"0.weight": np.ones(3)}, ValueError, r"Sequential: .* without \['0\.bias', '1\.0\.we"),
    ]
    for wrong, error, message in cases:
        with pytest.raises(error, match=message):
            net.load_state_dict(wrong)
    keys = net.load_state_dict({"0.weight": np.full(3, 2.0), "9.weight": 0}, strict=False)
    assert keys.unexpected_keys == ["9.weight"] and "1.0.running_var" in keys.missing_keys
    assert (net.layers[0].weight == 2).all()


def test_a_network_takes_all_of_a_state_or_nothing():
    net = Sequential(LayerNorm(3), BatchNorm(3))
    state = {name: array + 1 for name, array in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"1\.bias"):
        net.load_state_dict(state | {"1.bias": np.ones(4)})
    assert (net.layers[0].weight == 1).all()


@pytest.mark.frameworks
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_checkpoint_of_pytorch_loads_as_it_is(channels_last):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor([0.5, -2.0, 3.0]))
        theirs(torch.randn(4, 3, 5, 7, generator=torch.Generator().manual_seed(1)))
        state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
        ours = BatchNorm(3, channel_axis=-1 if channels_last else 1)
        ours.load_state_dict(state)
        x = normal((4, 3, 5, 7), np.float32, "x")
        for training in (True, False):
            theirs.train(training)
            given = x.transpose(0, 2, 3, 1) if channels_last else x
            y = ours(given, training)
            y = y.transpose(0, 3, 1, 2) if channels_last else y
            expected = theirs(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(y, expected, FRAMEWORK_RELATIVE, FRAMEWORK_RELATIVE)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], tensor, FRAMEWORK_RELATIVE)
    with pytest.raises(TypeError, match=r"got Tensor; pass its \.numpy\(\)"):
        ours.load_state_dict(theirs.state_dict())


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("name", "make", "ours"),
    [
        ("RMSNorm", lambda nn: nn.RMSNorm(7, eps=1e-5), lambda: RMSNorm(7)),
        ("GroupNorm", lambda nn: nn.GroupNorm(3, 6), lambda: GroupNorm(3, 6)),
        (
            "InstanceNorm",
            lambda nn: nn.InstanceNorm2d(6, affine=True),
            lambda: InstanceNorm(6, affine=True),
        ),
        ("InstanceNorm, plain", lambda nn: nn.InstanceNorm2d(6), lambda: InstanceNorm(6)),
        ("PReLU", lambda nn: nn.PReLU(), PReLU),
        ("PReLU, channels", lambda nn: nn.PReLU(6, init=0.1), lambda: PReLU(6, init=0.1)),
    ],
)
def test_checkpoints_of_other_layers_load_as_they_are(name, make, ours):
    """Both ways, with the same results from the same state and from the state at first."""
    torch = pytest.importorskip("torch")
    theirs, layer, x = make(torch.nn), ours(), normal((4, 6, 5, 7), np.float32, "x")
    with torch.no_grad():
        for step in range(2):
            state = {key: tensor.numpy().copy() for key, tensor in theirs.state_dict().items()}
            assert set(state) == set(layer.state_dict())
            for key, array in layer.state_dict().items():
                assert array.shape == state[key].shape
                assert step or np.array_equal(array, state[key]), "at first"
            layer.load_state_dict(state)
            expected = theirs(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(layer(x), expected, FRAMEWORK_RELATIVE, FRAMEWORK_RELATIVE)
            randomise(layer)
            new = {key: torch.from_numpy(array) for key, array in layer.state_dict().items()}
            theirs.load_state_dict(new)


@pytest.mark.frameworks
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("parametrised", [False, True])
def test_checkpoints_of_weight_norm_load_as_they_are(parametrised, axis):
    """Of both of PyTorch's weight norms; inside a network too."""
    torch = pytest.importorskip("torch")
    inner = torch.nn.Linear(7, 5)
    if parametrised:
        theirs = torch.nn.utils.parametrizations.weight_norm(inner, dim=axis)
    else:
        with pytest.warns(FutureWarning):
            theirs = torch.nn.utils.weight_norm(inner, dim=axis)
    x = normal((4, 7), np.float32, "x")
    state = {key: tensor.numpy().copy() for key, tensor in theirs.state_dict().items()}
    for name in state:
        if name != "bias":
            state[name] *= np.float32(1.5)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    layer = WeightNorm(Linear(7, 5, np.random.default_rng(0)), axis=axis)
    assert layer.load_state_dict(state) == ([], [])
    np.testing.assert_allclose(layer(x), expected, FRAMEWORK_RELATIVE, FRAMEWORK_RELATIVE)
    net = Sequential(WeightNorm(Linear(7, 5, np.random.default_rng(1)), axis=axis))
    net.load_state_dict({f"0.{name}": array for name, array in state.items()})
    assert_same_bits(net(x), layer(x))
    back = {key: torch.from_numpy(array) for key, array in layer.state_dict().items()}
    theirs.load_state_dict(back)
