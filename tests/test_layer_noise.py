"""Layers of dropout's family: each against its function, its draws, modes and axes."""

from __future__ import annotations

import numpy as np
import pytest

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from normdrop.layers import (
    AlphaDropout,
    Dropout,
    DropPath,
    GaussianDropout,
    SpatialDropout,
    UniformDropout,
)

SHAPE = (5, 7, 3, 11)

# The layer, and the function that it calls in training.
NOISES = {
    "AlphaDropout": (AlphaDropout, "alpha_dropout"),
    "GaussianDropout": (GaussianDropout, "gaussian_dropout"),
    "UniformDropout": (UniformDropout, "uniform_dropout"),
}
STRUCTURED = {"SpatialDropout": (SpatialDropout, (2, 3)), "DropPath": (DropPath, (1, 2, 3))}
LAYERS = {**{name: kind for name, (kind, _) in NOISES.items()},
          **{name: kind for name, (kind, _) in STRUCTURED.items()}}  # fmt: skip


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("axes", [(), (2, 3), 0], ids=str)
def test_a_layer_equals_its_functions(name, axes):
    kind, function = NOISES[name]
    x, grad = normal(SHAPE, np.float32, "x"), normal(SHAPE, np.float32, "grad")
    layer = kind(0.3, shared_axes=axes, rng=(8, 4))
    for call in (4, 5):
        y, mask = getattr(nd, f"{function}_forward")(x, 0.3, rng=(8, call), shared_axes=axes)
        assert_same_bits(layer(x), y)
        assert_same_bits(layer.backward(grad), getattr(nd, f"{function}_backward")(grad, mask))
    assert (layer.seed, layer.call) == (8, 6)


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_dropout_is_dropout_with_shared_axes(name):
    kind, axes = STRUCTURED[name]
    x, grad = normal(SHAPE, np.float32, "x"), normal(SHAPE, np.float32, "grad")
    layer = kind(0.3, rng=(8, 4))
    y, mask = nd.dropout_forward(x, 0.3, rng=(8, 4), shared_axes=axes)
    assert_same_bits(layer(x), y)
    assert_same_bits(layer.backward(grad), nd.dropout_backward(grad, mask))
    assert (layer.seed, layer.call) == (8, 5)


@pytest.mark.parametrize("name", LAYERS)
def test_inference_is_the_identity_and_draws_nothing(name):
    layer, x = LAYERS[name](0.5, rng=1), normal(SHAPE, np.float64, "x")
    y = layer(x, training=False, for_backward=True)
    assert_same_bits(y, x)
    assert not np.shares_memory(x, y)
    assert_same_bits(layer.backward(x), x)
    assert (layer.seed, layer.call) == (1, 0)


@pytest.mark.parametrize("name", LAYERS)
def test_seed_and_call_are_its_state(name):
    layer, x = LAYERS[name](0.5, rng=6), np.ones((13, 11, 3))
    layer(x)
    state = layer.state_dict()
    assert list(state) == ["seed", "call"] and (state["seed"], state["call"]) == (6, 1)
    other = LAYERS[name](0.5)
    other.load_state_dict(state)
    assert_same_bits(other(x), layer(x))
    assert not np.array_equal(layer(x), LAYERS[name](0.5, rng=6)(x))


def test_spatial_dropout_knows_where_channels_are():
    x = np.ones((5, 3, 11, 7), np.float32)
    last = SpatialDropout(0.5, channel_axis=-1, rng=7)(x)
    assert_same_bits(last, nd.dropout(x, 0.5, rng=7, shared_axes=(1, 2)))
    two = np.ones((5, 7), np.float32)
    assert_same_bits(SpatialDropout(0.5, rng=7)(two), nd.dropout(two, 0.5, rng=7))


def test_original_drop_path_draws_once_for_the_batch():
    """A gate for all of it, no scale in training, q at inference (Huang et al., 2016)."""
    x, layer = normal(SHAPE, np.float32, "x"), DropPath(0.5, mode="original", rng=3)
    gates = []
    for _ in range(40):
        y = layer(x)
        gates.append(bool(y.any()))
        assert_same_bits(y, x if gates[-1] else np.zeros_like(x))
        assert_same_bits(layer.backward(x), y)
    keep = [nd.DropoutMask(3, call, 0.5, (1,)).keep[0] for call in range(40)]
    assert gates == keep and len(set(gates)) == 2
    assert_same_bits(layer(x, False), x * np.float32(0.5))


@pytest.mark.parametrize("mode", ["inverted", "original"])
def test_drop_path_at_p_1_leaves_the_skip_only(mode):
    x = normal(SHAPE, np.float32, "x")
    layer = DropPath(1.0, mode=mode, rng=3)
    assert not layer(x).any() and not layer.backward(x).any()


def test_expectation_of_drop_path_is_its_value_at_inference():
    x = np.ones((20_000, 2))
    for mode, q in (("inverted", 1.0), ("original", 0.8)):
        layer = DropPath(0.2, mode=mode, rng=3)
        mean = np.mean([layer(x[i : i + 10]).mean() for i in range(0, 20_000, 10)])
        assert abs(mean - q) < 0.05 and layer(x[:2], False).tolist() == [[q, q], [q, q]]


def test_reprs_tell_the_settings():
    assert repr(SpatialDropout(0.2, channel_axis=-1, rng=(3, 4))) == (
        "SpatialDropout(0.2, channel_axis=-1, mode='inverted', rng=(3, 4))"
    )
    assert repr(DropPath(0.2, rng=3)) == "DropPath(0.2, mode='inverted', rng=(3, 0))"
    assert repr(Dropout(0.2, shared_axes=0, rng=3)) == (
        "Dropout(0.2, mode='inverted', shared_axes=0, rng=(3, 0))"
    )
    assert repr(UniformDropout(rng=3)) == "UniformDropout(0.1, rng=(3, 0))"
    assert repr(AlphaDropout(0.1, shared_axes=(2,), rng=3)) == (
        "AlphaDropout(0.1, rng=(3, 0), shared_axes=(2,))"
    )


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SpatialDropout(1.5), ValueError, "SpatialDropout: p must be from 0 to 1"),
        (lambda: SpatialDropout(channel_axis=1.0), TypeError, "SpatialDropout: channel_axis must"),
        (lambda: DropPath(mode="batch"), ValueError, "DropPath: mode must be 'inverted' or"),
        (lambda: AlphaDropout("half"), TypeError, "AlphaDropout: p must be a real number"),
        (lambda: GaussianDropout(1.0), ValueError, "GaussianDropout: p must be below 1"),
        (lambda: UniformDropout(-0.1), ValueError, "UniformDropout: beta must be from 0 to 1"),
        (lambda: UniformDropout(rng=-1), ValueError, "UniformDropout: rng must be"),
        (lambda: SpatialDropout(channel_axis=4)(np.ones((3, 5, 7))), ValueError,
         "channel_axis must be from -3 to 2 for an array of 3 axes, got 4"),
        (lambda: SpatialDropout()([1.0]), TypeError, "x must be a numpy.ndarray"),
        (lambda: AlphaDropout(shared_axes=2)(np.ones(3)), ValueError, "shared_axes must be from"),
    ],
)  # fmt: skip
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
