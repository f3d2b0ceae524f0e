"""Layers: the order of calls, running statistics, state, modes, and gradients through them."""

from __future__ import annotations

import copy
import doctest
import itertools
import pickle

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from normdrop.layers import BatchNorm, Dropout, Layer, LayerNorm, base, batch_norm, layer_norm
from normdrop.layers import dropout as dropout_module
from tolerances import (
    FINITE_DIFFERENCE_RELATIVE,
    FINITE_DIFFERENCE_STEP,
    FRAMEWORK_RELATIVE,
    HAND_KNOWN_RELATIVE,
    LIMITS,
)

EXACT = LIMITS["float64"].fence_relative

ALL_LAYERS = {
    "BatchNorm": lambda: BatchNorm(5, dtype=np.float64),
    "LayerNorm": lambda: LayerNorm(5, dtype=np.float64),
    "Dropout": lambda: Dropout(0.4, rng=3),
    "Dropout original": lambda: Dropout(0.4, mode="original", rng=3),
}


@pytest.fixture(params=ALL_LAYERS)
def layer(request):
    return ALL_LAYERS[request.param]()


def data(name="x", rows=7, dtype=np.float64):
    return normal((rows, 5), dtype, name)


def randomise(layer):
    for name, array in layer.parameters().items():
        array[...] = parameter(array.shape, array.dtype, name)


# The order of calls ------------------------------------------------------------------------------


def test_backward_before_a_forward_is_an_error(layer):
    with pytest.raises(RuntimeError, match=f"{type(layer).__name__}: backward needs a forward"):
        layer.backward(data())


@pytest.mark.parametrize("training", [True, False])
def test_backward_twice_is_an_error(layer, training):
    layer(data(), training)
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
    y = layer(x, training)
    grad_x = layer.backward(grad)
    assert not np.shares_memory(y, x) and not np.shares_memory(grad_x, grad)


def test_the_base_class_leaves_the_work_to_others():
    with pytest.raises(NotImplementedError):
        Layer()(data())


# State -------------------------------------------------------------------------------------------


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


def checkpoint(**changes):
    return {**BatchNorm(3).state_dict(), **changes}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (checkpoint(extra=np.ones(3)), ValueError, r"BatchNorm: state must have the names .*extra"),
        ({"weight": np.ones(3)}, ValueError, r"BatchNorm: state must have the names"),
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


# Batch norm --------------------------------------------------------------------------------------


def test_algorithm_2_over_all_samples_gives_the_population():
    """All samples of two values from {0, 1, 3, 7}, with replacement: unbiased exactly."""
    layer = BatchNorm(1, dtype=np.float64)
    pairs = itertools.product([0.0, 1.0, 3.0, 7.0], repeat=2)
    layer.estimate_population(np.array(pair)[:, None] for pair in pairs)
    np.testing.assert_allclose(layer.running_mean, [2.75], EXACT)
    np.testing.assert_allclose(layer.running_var, [7.1875], EXACT)
    assert layer.num_batches_tracked == 16


def test_algorithm_2_without_replacement_gives_the_sample_variance():
    layer = BatchNorm(1, dtype=np.float64)
    pairs = itertools.permutations([0.0, 1.0, 3.0, 7.0], 2)
    layer.estimate_population(np.array(pair)[:, None] for pair in pairs)
    np.testing.assert_allclose(layer.running_var, [np.var([0, 1, 3, 7], ddof=1)], EXACT)


def test_algorithm_2_weights_batches_by_their_size():
    layer = BatchNorm(5, dtype=np.float64)
    batches = [data("a", 3), data("b", 11), data("c", 2)]
    layer.estimate_population(batches)
    sizes = np.array([3, 11, 2])
    means = [batch.mean(axis=0) for batch in batches]
    unbiased = [batch.var(axis=0, ddof=1) for batch in batches]
    np.testing.assert_allclose(
        layer.running_mean, np.average(means, axis=0, weights=sizes), EXACT, EXACT
    )
    np.testing.assert_allclose(
        layer.running_var, np.average(unbiased, axis=0, weights=sizes), EXACT
    )


def test_algorithm_2_counts_the_places_of_an_image():
    """The factor m / (m - 1) uses the values of a channel, not the images: 8/7, not 2/1."""
    layer = BatchNorm(1, dtype=np.float64)
    layer.estimate_population([np.arange(8.0).reshape(2, 1, 2, 2)])
    np.testing.assert_allclose(layer.running_var, [6.0], EXACT)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([np.zeros((1, 5))], "at least 2 values"),
        ([np.zeros((3, 4))], r"must have 5 channels along axis 1, got shape \(3, 4\)"),
    ],
)
def test_algorithm_2_without_usable_batches_changes_nothing(batches, message):
    layer = BatchNorm(5, dtype=np.float64)
    layer(data())
    before = layer.state_dict()
    with pytest.raises(ValueError, match=message):
        layer.estimate_population([data(), *batches] if batches else batches)
    for name, array in layer.state_dict().items():
        assert_same_bits(array, before[name], name)


@pytest.mark.parametrize(("correction", "ddof"), [(1, 1), (0, 0)])
def test_running_average_of_equal_batches_has_a_closed_form(correction, ddof):
    alpha, steps, x = 0.3, 9, data()
    layer = BatchNorm(5, momentum=alpha, correction=correction, dtype=np.float64)
    for _ in range(steps):
        layer(x)
    left = (1 - alpha) ** steps
    mean, var = x.mean(axis=0), x.var(axis=0, ddof=ddof)
    np.testing.assert_allclose(layer.running_mean, mean + left * (0 - mean), EXACT)
    np.testing.assert_allclose(layer.running_var, var + left * (1 - var), EXACT)
    assert layer.num_batches_tracked == steps


def test_the_hand_case_of_the_running_variance():
    layer = BatchNorm(1, eps=0.0, dtype=np.float64)
    y = layer(np.array([[1.0], [2.0], [3.0], [4.0]]))
    expected = [-1.3416408, -0.4472136, 0.4472136, 1.3416408]
    np.testing.assert_allclose(y[:, 0], expected, HAND_KNOWN_RELATIVE)
    np.testing.assert_allclose(layer.running_var, [0.9 + 0.1 * 5 / 3], EXACT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_momentum_none_is_the_arithmetic_mean_of_all_batches(dtype):
    """Over 1000 batches: a running average kept in float32 would have drifted."""
    layer = BatchNorm(5, momentum=None, dtype=dtype)
    batches = [data(str(index), 3, dtype) for index in range(1000)]
    for batch in batches:
        layer(batch)
    exact = [batch.astype(np.float64) for batch in batches]
    means = np.mean([batch.mean(axis=0) for batch in exact], axis=0)
    variances = np.mean([batch.var(axis=0, ddof=1) for batch in exact], axis=0)
    np.testing.assert_allclose(layer.running_mean, means, EXACT, EXACT)
    np.testing.assert_allclose(layer.running_var, variances, EXACT)


def test_training_output_is_independent_of_running_statistics_and_momentum():
    plain, other = BatchNorm(5, dtype=np.float64), BatchNorm(5, momentum=1.0, dtype=np.float64)
    other(100.0 * data("other"))
    assert_same_bits(plain(data()), other(data()))


def test_inference_changes_no_state():
    layer = BatchNorm(5, dtype=np.float64)
    layer(data())
    before = layer.state_dict()
    layer(data("other"), training=False)
    layer.backward(data("grad"))
    for name, array in layer.state_dict().items():
        assert_same_bits(array, before[name], name)


@pytest.mark.parametrize("eps", [1e-5, 1.0])
def test_inference_and_its_backward_use_frozen_statistics(eps):
    layer = BatchNorm(5, eps=eps, dtype=np.float64)
    randomise(layer)
    layer(data("first"))
    x, grad = data(), data("grad")
    y = layer(x, training=False)
    grad_x = layer.backward(grad)
    inv_std = 1 / np.sqrt(layer.running_var + eps)
    x_hat = (x - layer.running_mean) * inv_std
    np.testing.assert_allclose(y, x_hat * layer.weight + layer.bias, EXACT, EXACT)
    np.testing.assert_allclose(grad_x, grad * layer.weight * inv_std, EXACT)
    np.testing.assert_allclose(layer.gradients()["weight"], (grad * x_hat).sum(0), EXACT, EXACT)
    np.testing.assert_allclose(layer.gradients()["bias"], grad.sum(0), EXACT, EXACT)


def test_one_value_per_channel_trains_not_but_infers():
    layer = BatchNorm(5, dtype=np.float64)
    with pytest.raises(ValueError, match="at least 2 values"):
        layer(data(rows=1))
    assert layer.num_batches_tracked == 0
    assert layer(data(rows=1), training=False).shape == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"momentum": 1.5}, ValueError, "momentum must be None or in"),
        ({"momentum": float("nan")}, ValueError, "momentum must be None or in"),
        ({"correction": 2}, ValueError, "correction must be 0 or 1, got 2"),
        ({"dtype": np.float16}, TypeError, "dtype must be float32 or float64, got float16"),
    ],
)
def test_wrong_batch_norm_arguments(arguments, error, message):
    with pytest.raises(error, match=f"BatchNorm: {message}"):
        BatchNorm(3, **arguments)


def test_without_parameters_there_are_no_gradients():
    layer = BatchNorm(5, affine=False, dtype=np.float64)
    assert layer.weight is None and layer.parameters() == {}
    layer(data())
    layer.backward(data("grad"))
    assert layer.gradients() == {}


def test_wrong_number_of_channels_is_seen_without_parameters_too():
    layer = BatchNorm(4, affine=False, dtype=np.float64)
    with pytest.raises(ValueError):
        layer(data())
    assert layer.num_batches_tracked == 0


# Layer norm --------------------------------------------------------------------------------------


def test_layer_norm_over_trailing_axes_equals_the_function():
    layer = LayerNorm((3, 5), dtype=np.float64)
    randomise(layer)
    x, grad = normal((2, 7, 3, 5), np.float64, "x"), normal((2, 7, 3, 5), np.float64, "grad")
    y, stats = nd.layer_norm_forward(x, layer.weight, layer.bias, axis=(-2, -1))
    expected = nd.layer_norm_backward(grad, x, stats, layer.weight, axis=(-2, -1))
    assert_same_bits(layer(x, training=False), y)
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


# Dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_original_at_inference_is_q_times_inverted(p):
    x, grad = data(), data("grad")
    inverted, original = Dropout(p, rng=1), Dropout(p, mode="original", rng=1)
    np.testing.assert_allclose(original(x, False), (1 - p) * inverted(x, False), EXACT)
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
    assert_same_bits(layer(data(), training=False), data())
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

    layer(x, training)
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
