"""What the constructors of layers refuse, and what the layers say of an x that does not fit."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

import normdrop as nd
from cases import DTYPES, HALF_TYPES, normal
from comparing import assert_same_bits
from normdrop.layers import (
    BatchNorm,
    Dropout,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    PReLU,
    RMSNorm,
)

NAN = float("nan")

# Constructors ------------------------------------------------------------------------------------

# What each needs, for 3 channels.
FIRST = {
    BatchNorm: {"num_features": 3},
    LayerNorm: {"normalized_shape": 3},
    RMSNorm: {"normalized_shape": 3},
    GroupNorm: {"num_groups": 1, "num_channels": 3},
    InstanceNorm: {"num_features": 3},
    PReLU: {"num_parameters": 3},
    Dropout: {},
}

NORMS = [BatchNorm, LayerNorm, RMSNorm, GroupNorm, InstanceNorm]

OF_EVERY_NORM = [
    ({"eps": -1}, ValueError, "eps must be 0 or greater, got -1"),
    ({"eps": NAN}, ValueError, "eps must be 0 or greater, got nan"),
    ({"eps": "x"}, TypeError, "eps must be a real number, got str"),
    ({"eps": True}, TypeError, "eps must be a real number, got bool"),
    ({"eps": None}, TypeError, "eps must be a real number, got NoneType"),
    ({"eps": 1j}, TypeError, "eps must be a real number, got complex"),
    ({"affine": "yes"}, TypeError, "affine must be True or False, got str"),
    ({"affine": 1}, TypeError, "affine must be True or False, got int"),
    ({"affine": None}, TypeError, "affine must be True or False, got NoneType"),
    *(
        (
            {"dtype": dtype},
            TypeError,
            f"dtype must be float16, bfloat16, float32 or float64, got {text}",
        )
        for dtype, text in [
            ("nonsense", "'nonsense'"), (3, "3"), (None, "None"), (np.int32, "int32"),
            (">f4", ">f4"), ([("weight", "f4")], "[('weight', '<f4')]"), (complex, "complex128"),
        ]
    ),
]  # fmt: skip

OF_NUM_FEATURES = [
    ({"num_features": -3}, ValueError, "num_features must be 0 or greater, got -3"),
    ({"num_features": 2.5}, TypeError, "num_features must be an integer, got float"),
    ({"num_features": "a"}, TypeError, "num_features must be an integer, got str"),
    ({"num_features": True}, TypeError, "num_features must be an integer, got bool"),
    ({"num_features": (3,)}, TypeError, "num_features must be an integer, got tuple"),
    ({"num_features": np.ones(3)}, TypeError, "num_features must be an integer, got ndarray"),
]

OF_CHANNEL_AXIS = [
    ({"channel_axis": "x"}, TypeError, "channel_axis must be an integer, got str"),
    ({"channel_axis": (1,)}, TypeError, "channel_axis must be an integer, got tuple"),
    ({"channel_axis": None}, TypeError, "channel_axis must be an integer, got NoneType"),
]

OF_GROUP_NORM = [
    ({"num_groups": 0}, ValueError, "num_groups must be 1 or greater, got 0"),
    ({"num_groups": -1}, ValueError, "num_groups must be 1 or greater, got -1"),
    ({"num_groups": 2}, ValueError, "num_groups must divide num_channels 3, got 2"),
    ({"num_groups": 1.0}, TypeError, "num_groups must be an integer, got float"),
    ({"num_channels": -3}, ValueError, "num_channels must be 0 or greater, got -3"),
    ({"num_channels": None}, TypeError, "num_channels must be an integer, got NoneType"),
]

OF_PRELU = [
    ({"num_parameters": 0}, ValueError, "num_parameters must be 1 or greater, got 0"),
    ({"num_parameters": 2.5}, TypeError, "num_parameters must be an integer, got float"),
    ({"init": "x"}, TypeError, "init must be a real number, got str"),
    ({"init": None}, TypeError, "init must be a real number, got NoneType"),
    ({"dtype": np.int32}, TypeError, "dtype must be float16, .* got int32"),
]

OF_BATCH_NORM = [
    ({"momentum": "x"}, TypeError, "momentum must be None or a real number, got str"),
    ({"momentum": True}, TypeError, "momentum must be None or a real number, got bool"),
    ({"momentum": 1.5}, ValueError, "momentum must be None or in [0, 1], got 1.5"),
    ({"momentum": -0.1}, ValueError, "momentum must be None or in [0, 1], got -0.1"),
    ({"momentum": NAN}, ValueError, "momentum must be None or in [0, 1], got nan"),
    ({"correction": 2}, ValueError, "correction must be 0 or 1, got 2"),
    ({"correction": "x"}, TypeError, "correction must be an integer, got str"),
    ({"correction": 1.0}, TypeError, "correction must be an integer, got float"),
    ({"track_running_stats": 0}, TypeError, "track_running_stats must be True or False, got int"),
]

SIZES = "an integer, or a tuple or list of them"
OF_LAYER_NORM = [
    ({"normalized_shape": -3}, ValueError, "normalized_shape must have .* 0 or greater, got -3"),
    ({"normalized_shape": (3, -1)}, ValueError, r"0 or greater, got \(3, -1\)"),
    ({"normalized_shape": ()}, ValueError, r"one size or more, .*, got \(\)"),
    ({"normalized_shape": []}, ValueError, r"one size or more, .*, got \[\]"),
    ({"normalized_shape": 2.5}, TypeError, f"normalized_shape must be {SIZES}, got float"),
    ({"normalized_shape": (3, "a")}, TypeError, f"normalized_shape must be {SIZES}, got str"),
    ({"normalized_shape": "a"}, TypeError, f"normalized_shape must be {SIZES}, got str"),
    ({"axis": "x"}, TypeError, "axis must be None, an integer or a tuple of them, got str"),
    ({"axis": 1.5}, TypeError, "axis must be None, an integer or a tuple of them, got float"),
    ({"axis": ("x",)}, TypeError, "axis must be None, an integer or a tuple of them, got str"),
    ({"axis": (0, 1)}, ValueError, r"axis must name as many axes as .* \(3,\) .*, got \(0, 1\)"),
    ({"axis": ()}, ValueError, r"axis must name as many axes as .* \(3,\) .*, got \(\)"),
    ({"normalized_shape": (3, 4), "axis": -1}, ValueError, r"\(3, 4\) has sizes, got -1"),
    ({"normalized_shape": (3, 4), "axis": (1, 1)}, ValueError, r"got \(1, 1\)"),
    ({"bias": "no"}, TypeError, "bias must be True or False, got str"),
]


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        *((kind, a, e, re.escape(m)) for kind in NORMS for a, e, m in OF_EVERY_NORM),
        *((BatchNorm, a, e, re.escape(m)) for a, e, m in OF_BATCH_NORM),
        *((kind, *case) for kind in (BatchNorm, InstanceNorm) for case in OF_NUM_FEATURES),
        *((kind, *case) for kind in (BatchNorm, GroupNorm, InstanceNorm, PReLU)
          for case in OF_CHANNEL_AXIS),
        *((kind, *case) for kind in (LayerNorm, RMSNorm) for case in OF_LAYER_NORM),
        *((GroupNorm, *case) for case in OF_GROUP_NORM),
        *((PReLU, *case) for case in OF_PRELU),
        (Dropout, {"p": True}, TypeError, "p must be a real number, got bool"),
        (Dropout, {"rng": np.random.RandomState(0)}, TypeError, "rng must be .* got RandomState"),
    ],
)  # fmt: skip
def test_wrong_arguments(kind, arguments, error, message):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{message}") as caught:
        kind(**{**FIRST[kind], **arguments})
    assert type(caught.value) is error


def test_numbers_of_numpy_are_numbers():
    layer = BatchNorm(
        np.int64(3), channel_axis=np.int8(-1), eps=np.float32(0.5), momentum=np.float16(0.5),
        correction=np.uint8(0), affine=np.True_, dtype="bfloat16",
    )  # fmt: skip
    assert (layer.num_features, layer.channel_axis, layer.correction) == (3, -1, 0)
    assert (layer.eps, layer.momentum) == (0.5, 0.5)
    assert layer.weight.dtype == ml_dtypes.bfloat16
    assert all(type(value) is int for value in (layer.num_features, layer.channel_axis))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ([3, 4], (3, 4)),
        ((np.int64(3), np.uint8(4)), (3, 4)),
        (np.int32(4), (4,)),
        ([np.int64(4)], (4,)),
    ],
)
def test_shapes_of_layer_norm(given, shape):
    layer, plain = LayerNorm(given, dtype=np.float64), LayerNorm(shape, dtype=np.float64)
    assert layer.normalized_shape == shape and layer.weight.shape == shape
    assert all(type(size) is int for size in layer.normalized_shape)
    x = normal((2, 3, 4), np.float64, "x")
    assert_same_bits(layer(x), plain(x))
    assert_same_bits(LayerNorm(given, affine=False)(x), plain(x))


def test_the_axes_of_layer_norm_may_be_integers_of_numpy():
    x = normal((2, 3, 4), np.float64, "x")
    layer = LayerNorm([2, 3], axis=(np.int64(1), np.int64(0)), dtype=np.float64)
    assert_same_bits(layer(x), nd.layer_norm(x, axis=(0, 1)))


# x against the layer -----------------------------------------------------------------------------

OF_EIGHT = {
    BatchNorm: (8,),
    LayerNorm: (8,),
    RMSNorm: (8,),
    GroupNorm: (2, 8),
    InstanceNorm: (8,),
    PReLU: (8,),
}

SPELT = {
    "float16": "np.float16",
    "bfloat16": "ml_dtypes.bfloat16",
    "float32": "np.float32",
    "float64": "np.float64",
}


def fits(own, given):
    return given == own or (own == np.float32 and given in HALF_TYPES)


@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("own", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in OF_EIGHT if kind is not InstanceNorm])
def test_the_dtype_of_x_is_named_before_that_of_the_weight(kind, own, given, training):
    x = normal((4, 8), given, "x")
    size = OF_EIGHT[kind]
    layer = kind(*size, dtype=own)
    if fits(own, given):
        assert layer(x, training).dtype == given
        return
    own, given = np.dtype(own).name, np.dtype(given).name
    with pytest.raises(TypeError) as caught:
        layer(x, training)
    name = kind.__name__
    accepted = "float32, float16 or bfloat16" if own == "float32" else own
    size = "(8,)" if kind in (LayerNorm, RMSNorm) else ", ".join(map(str, size))
    assert str(caught.value) == (
        f"{name}: x must have dtype {accepted}, as the layer's dtype is {own}, got {given}; pass "
        f"x.astype({SPELT[own]}), or make the layer by {name}({size}, dtype={SPELT[given]})"
    )


@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", NORMS)
def test_without_parameters_x_has_any_dtype(kind, given, training):
    x = normal((4, 8), given, "x")
    layer = kind(*OF_EIGHT[kind], affine=False)
    assert layer(x, training, for_backward=True).dtype == given
    assert layer.backward(x).dtype == given


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", NORMS)
def test_an_x_that_nothing_computes_is_named_by_the_function(kind, affine):
    for wrong in (np.zeros((4, 8), np.int64), np.zeros((4, 8), ">f4"), [[1.0] * 8], "x", None):
        with pytest.raises(TypeError, match="norm_forward: x must"):
            kind(*OF_EIGHT[kind], affine=affine)(wrong)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("channel_axis", "shape"), [(1, (4, 64, 8, 8)), (-1, (4, 128, 64))])
def test_the_channels_of_x_are_named_with_the_layers(affine, training, channel_axis, shape):
    layer = BatchNorm(128, channel_axis=channel_axis, affine=affine)
    message = (
        f"BatchNorm: x must have num_features = 128 channels along axis {channel_axis}, "
        f"got 64 in {shape}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(np.zeros(shape, np.float32), training)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (GroupNorm(2, 6), "GroupNorm: x must have num_channels = 6 channels along axis 1"),
        (InstanceNorm(6), "InstanceNorm: x must have num_features = 6 channels along axis 1"),
        (PReLU(6), "PReLU: x must have num_parameters = 6 channels along axis 1"),
    ],
)
def test_the_channels_of_x_are_named_with_those_of_other_layers(layer, text):
    with pytest.raises(ValueError, match=re.escape(f"{text}, got 5 in (3, 5, 7)")):
        layer(np.zeros((3, 5, 7), np.float32))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_the_shape_of_x_is_named_with_the_layers(kind, affine):
    layer = kind((3, 5), axis=(1, 2), affine=affine)
    message = (
        f"{kind.__name__}: x must have the normalized_shape (3, 5) along axis (1, 2), "
        "got (3, 4) in (2, 3, 4)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(np.zeros((2, 3, 4), np.float32))


@pytest.mark.parametrize("affine", [True, False])
def test_an_x_with_too_few_axes_is_named_by_the_function(affine):
    with pytest.raises(ValueError, match="x must have at least 2"):
        BatchNorm(8, affine=affine)(np.zeros(8, np.float32))
    with pytest.raises(ValueError, match="channel_axis must be from"):
        BatchNorm(8, channel_axis=4, affine=affine)(np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match="axis must be from"):
        LayerNorm((8, 8), affine=affine)(np.zeros(8, np.float32))
