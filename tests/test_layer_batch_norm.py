"""The batch norm layer: Algorithm 2, running statistics, inference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from comparing import assert_same_bits
from layer_cases import data, randomise
from normdrop.layers import BatchNorm
from tolerances import FRAMEWORK_RELATIVE, HAND_KNOWN_RELATIVE, LIMITS

EXACT = LIMITS["float64"].fence_relative


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
        ([np.zeros((3, 4))], r"num_features = 5 channels along axis 1, got 4 in \(3, 4\)"),
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
    layer(data("other"), training=False, for_backward=True)
    layer.backward(data("grad"))
    for name, array in layer.state_dict().items():
        assert_same_bits(array, before[name], name)


@pytest.mark.parametrize("eps", [1e-5, 1.0])
def test_inference_and_its_backward_use_frozen_statistics(eps):
    layer = BatchNorm(5, eps=eps, dtype=np.float64)
    randomise(layer)
    layer(data("first"))
    x, grad = data(), data("grad")
    y = layer(x, training=False, for_backward=True)
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


# Without running statistics ----------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
def test_without_running_statistics_those_of_the_batch_serve_at_inference(affine):
    plain = BatchNorm(5, affine=affine, dtype=np.float64)
    layer = BatchNorm(5, affine=affine, track_running_stats=False, dtype=np.float64)
    x, grad = data(), data("grad")
    expected, expected_grad = plain(x), plain.backward(grad)
    for training in (True, False):
        assert_same_bits(layer(x, training, for_backward=True), expected)
        assert_same_bits(layer.backward(grad), expected_grad)
    for name, gradient in plain.gradients().items():
        assert_same_bits(layer.gradients()[name], gradient, name)


def test_without_running_statistics_there_is_no_state_of_them():
    layer = BatchNorm(5, track_running_stats=False)
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert layer.running_mean is layer.running_var is layer.num_batches_tracked is None
    with pytest.raises(ValueError, match="estimate_population needs track_running_stats=True"):
        layer.estimate_population([data()])
    other = BatchNorm(5)
    missing = other.load_state_dict(layer.state_dict(), strict=False).missing_keys
    assert missing == ["running_mean", "running_var", "num_batches_tracked"]


@pytest.mark.frameworks
@pytest.mark.parametrize("training", [True, False])
def test_without_running_statistics_it_is_pytorchs(training):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.BatchNorm1d(5, track_running_stats=False).train(training)
    ours = BatchNorm(5, track_running_stats=False).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = data(dtype=np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), expected, FRAMEWORK_RELATIVE, FRAMEWORK_RELATIVE)
