"""The NumPy network of the experiments: gradients, descent, images, and the claim about depth."""

from __future__ import annotations

import doctest
import gzip
import itertools
import struct
import tracemalloc

import numpy as np
import pytest

from cases import normal
from comparing import assert_same_bits
from normdrop.experiments import data, network, reach, sigmoid_depth, wording
from normdrop.experiments.demo import one_thread
from normdrop.experiments.network import (
    Linear,
    MomentumSGD,
    ReLU,
    Sequential,
    Sigmoid,
    accuracy,
    softmax_cross_entropy,
)
from normdrop.experiments.report_layers import FAR, LOST
from normdrop.experiments.sigmoid_depth import (
    VARIANTS,
    Settings,
    build_network,
    evaluation_steps,
    look,
    train,
    train_step,
)
from normdrop.layers import BatchNorm, Dropout, LayerNorm
from tolerances import (
    FINITE_DIFFERENCE_RELATIVE,
    FINITE_DIFFERENCE_STEP,
    LIMITS,
    ONE_ROUNDING_SINGLE,
)

EXACT = LIMITS["float64"].fence_relative
NOTHING, CONTROL, BATCH_NORM, LAYER_NORM = VARIANTS[:4]
CHANCE = 0.2  # ten classes: what a network that learnt nothing stays well below
LEARNT = 0.9


# Network -----------------------------------------------------------------------------------------


def small_network(seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.float64
    return Sequential(
        Linear(5, 7, rng, scale=0.5, bias=False, dtype=dtype),
        BatchNorm(7, dtype=dtype),
        Sigmoid(),
        Dropout(0.3, rng=rng),
        Linear(7, 11, rng, scale=0.5, dtype=dtype),
        LayerNorm(11, dtype=dtype),
        ReLU(),
        Linear(11, 3, rng, scale=0.5, dtype=dtype),
    )


LABELS = np.arange(13) % 3


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_whole_network_agree_with_finite_differences(training):
    net = small_network()
    x = normal((13, 5), np.float64, "x")
    net(x)
    state = net.state_dict()

    def loss():
        net.load_state_dict(state | net.parameters())  # the same mask and statistics every time
        return softmax_cross_entropy(net(x, training), LABELS)[0]

    net.load_state_dict(state)
    _, grad_logits = softmax_cross_entropy(net(x, training, for_backward=True), LABELS)
    found = {"x": net.backward(grad_logits), **net.gradients()}
    largest = max(np.abs(gradient).max() for gradient in found.values())
    for name, array in {"x": x, **net.parameters()}.items():
        for index in itertools.islice(np.ndindex(array.shape), 12):
            value = array[index]
            array[index] = value + FINITE_DIFFERENCE_STEP
            above = loss()
            array[index] = value - FINITE_DIFFERENCE_STEP
            below = loss()
            array[index] = value
            expected = (above - below) / (2 * FINITE_DIFFERENCE_STEP)
            error = abs(found[name][index] - expected)
            assert error <= FINITE_DIFFERENCE_RELATIVE * largest, (name, index)


def test_gradients_carry_the_names_of_the_parameters():
    net = small_network()
    _, grad_logits = softmax_cross_entropy(net(normal((13, 5), np.float64, "x")), LABELS)
    net.backward(grad_logits)
    assert list(net.parameters()) == list(net.gradients())
    assert "0.weight" in net.parameters() and "0.bias" not in net.parameters()


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    loss, gradient = softmax_cross_entropy(logits, np.array([0, 2]))
    np.testing.assert_allclose(loss, -(np.log(0.5) + np.log(0.7)) / 2, EXACT)
    expected = np.array([[-0.5, 0.25, 0.25], [0.1, 0.2, -0.3]]) / 2
    np.testing.assert_allclose(gradient, expected, EXACT)


def test_cross_entropy_of_huge_logits_is_finite():
    loss, gradient = softmax_cross_entropy(np.array([[1e4, -1e4]], np.float32), np.array([0]))
    assert loss == 0.0 and np.isfinite(gradient).all()


def test_sigmoid_of_extreme_values_neither_overflows_nor_warns():
    y = Sigmoid()(np.array([[-1e4, 0.0, 1e4]], np.float32))
    assert y.tolist() == [[0.0, 0.5, 1.0]]


def test_momentum_by_hand():
    layer = Linear(1, 1, np.random.default_rng(0), bias=False, dtype=np.float64)
    layer.parameters()["weight"][...] = 1.0
    optimiser = MomentumSGD(layer, learning_rate=0.5, momentum=0.5)
    for expected in (1.0 - 0.5 * 2, 0.0 - 0.5 * (0.5 * 2 + 2)):
        layer(np.array([[2.0]]))
        layer.backward(np.array([[1.0]]))  # the gradient is 2, whatever the weight
        optimiser.step()
        assert layer.parameters()["weight"].item() == expected


def test_state_of_a_network_round_trips():
    net, other = small_network(0), small_network(1)
    x = normal((13, 5), np.float64, "x")
    net(x)
    other.load_state_dict(net.state_dict())
    assert_same_bits(other(x), net(x))
    with pytest.raises(ValueError, match=r"Sequential: state must .* with \['8\.weight'\]"):
        other.load_state_dict(net.state_dict() | {"8.weight": np.ones(1)})


def test_a_slice_of_a_network_shares_its_layers():
    net = small_network()
    x = normal((13, 5), np.float64, "x")
    assert_same_bits(net[3:](net[:3](x, False), False), net(x, False))


def test_accuracy_counts_right_answers():
    assert accuracy(np.eye(4)[[0, 1, 2, 0]], np.array([0, 1, 2, 3])) == 0.75


@pytest.mark.parametrize("module", [network, data, reach, sigmoid_depth, wording])
def test_examples_in_the_documentation_run(module):
    assert doctest.testmod(module).failed == 0


# Images ------------------------------------------------------------------------------------------


def header(*shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)


def idx(array):
    return header(*array.shape) + array.astype(np.uint8).tobytes()


def images_and_labels(count, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 3)), np.arange(count) % 5


@pytest.fixture
def folder(tmp_path):
    for prefix, count in (("train", 40), ("t10k", 20)):
        images, labels = images_and_labels(count, count)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_idx_files_plain_and_packed(folder):
    dataset = data.load_idx_folder(folder)
    images, labels = images_and_labels(40, 40)
    assert dataset.train_images.dtype == np.float32 and dataset.train_images.shape == (40, 12)
    np.testing.assert_allclose(
        dataset.train_images, images.reshape(40, 12) / 255, ONE_ROUNDING_SINGLE
    )
    assert dataset.train_labels.tolist() == labels.tolist()
    assert dataset.test_images.shape == (20, 12) and dataset.classes == 5


def test_names_with_a_dot_are_found(folder):
    path = folder / "train-images-idx3-ubyte"
    path.rename(folder / "train-images.idx3-ubyte")
    assert len(data.load_idx_folder(folder).train_labels) == 40


MEGABYTE = 1 << 20
FEW_MEGABYTES = 8 * MEGABYTE  # some chunks of one, and what gzip keeps
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (TRAIN_IMAGES, None, "train-images-idx3-ubyte is missing"),
        (TRAIN_IMAGES, b"", "not an IDX file"),
        (TRAIN_IMAGES, b"<html>not found</html>", "not an IDX file"),
        (TRAIN_IMAGES, b"\0\0\x0d\x03" + bytes(12), "unsigned bytes .*got type 0x0d"),
        (TRAIN_IMAGES, b"\0\0\x08\x03\0\0", "header is incomplete"),
        (TRAIN_IMAGES, idx(np.zeros((40, 4, 3)))[:-1], "needs 480 bytes of values, got 479"),
        (TRAIN_IMAGES, idx(np.zeros((40, 4, 3))) + b"\0", "needs 480 bytes of values, got more"),
        (TRAIN_IMAGES, header(2**32 - 1, 2**32 - 1, 2**32 - 1), "announces .*more than 1073741824"),
        (TRAIN_IMAGES, header(*[2**32 - 1] * 4), "must have 3 dimensions, got 4"),
        (TRAIN_IMAGES, header(*[1] * 255), "must have 3 dimensions, got 255"),
        (TRAIN_IMAGES, header(2**15, 2**15, 1), "needs 1073741824 bytes of values, got 0"),
        (TRAIN_IMAGES, header(), "must have 3 dimensions, got 0"),
        (TRAIN_IMAGES, header(0, 2**32 - 1, 2**32 - 1), "holds no values"),
        (TRAIN_IMAGES, idx(np.zeros((40, 12))), "must have 3 dimensions, got 2"),
        (TRAIN_IMAGES, idx(np.zeros((0, 4, 3))), "holds no values"),
        (TRAIN_IMAGES, idx(np.zeros((40, 5, 5))), "12 pixels an image, but 25"),
        (
            TRAIN_LABELS,
            gzip.compress(idx(np.zeros(39))),
            "must hold 40 labels, one an image, got 39",
        ),
        (TRAIN_LABELS, gzip.compress(idx(np.zeros((40, 1)))), "must have 1 dimension, got 2"),
        (TRAIN_LABELS, gzip.compress(idx(np.zeros(40))), "classes that the training labels lack"),
        (TRAIN_LABELS, gzip.compress(idx(np.zeros(40)))[:-9], "cannot be read"),
        (TRAIN_LABELS, idx(np.zeros(40)), "cannot be read"),
    ],
)
def test_damaged_files_are_named(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load_idx_folder(folder)
    assert str(folder) in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (TRAIN_LABELS, header(40)),  # a little announced, and much behind it
        (TRAIN_LABELS, header(2**31)),  # more than anybody's labels
        (TRAIN_IMAGES, header(2**9, 2**10, 2**10)),  # announced, and not there
    ],
)
def test_no_more_memory_than_the_header_announces_or_the_file_holds(folder, name, start):
    content = start
    if name.endswith(".gz"):
        content = gzip.compress(start) + 4 * gzip.compress(bytes(64 * MEGABYTE))
    (folder / name).write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(data.DataError, match=name):
            data.load_idx_folder(folder)
        assert tracemalloc.get_traced_memory()[1] < FEW_MEGABYTES
    finally:
        tracemalloc.stop()


def test_a_single_image_is_refused(folder):
    """A batch norm has no variance to learn from it."""
    (folder / TRAIN_IMAGES).write_bytes(idx(np.zeros((1, 4, 3))))
    (folder / TRAIN_LABELS).write_bytes(gzip.compress(idx(np.full(1, 4))))
    with pytest.raises(data.DataError, match=r"must hold 2 images or more, got 1"):
        data.load_idx_folder(folder)


def test_a_name_that_breaks_lines_is_escaped(tmp_path):
    folder = tmp_path / "two\nlines\udcff"
    with pytest.raises(data.DataError) as caught:
        data.load_idx_folder(folder)
    assert str(caught.value).endswith(r"two\nlines\udcff: no such folder")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(data.DataError, match="nowhere: no such folder"):
        data.load_idx_folder(tmp_path / "nowhere")


def test_digits_are_all_used_once():
    pytest.importorskip("sklearn")
    dataset = data.load_digits(3)
    assert dataset.train_images.shape == (1297, 64) and dataset.test_images.shape == (500, 64)
    assert dataset.train_images.min() == 0.0 and dataset.train_images.max() == 1.0
    total = dataset.train_images.sum(dtype=float) + dataset.test_images.sum(dtype=float)
    other = data.load_digits(4)
    again = other.train_images.sum(dtype=float) + other.test_images.sum(dtype=float)
    assert total == again
    assert not np.array_equal(dataset.test_labels, other.test_labels)


def test_batches_pass_over_all_images(folder):
    dataset = data.load_idx_folder(folder)
    supply = data.batches(dataset, 8, np.random.default_rng(0))
    for _ in range(2):
        rows = np.concatenate([next(supply)[0] for _ in range(5)])
        assert sorted(map(bytes, rows)) == sorted(map(bytes, dataset.train_images))


def test_a_batch_is_never_larger_than_the_images(folder):
    dataset = data.load_idx_folder(folder)
    images, labels = next(data.batches(dataset, 60, np.random.default_rng(0)))
    assert images.shape == (40, 12) and labels.shape == (40,)


# The experiment ----------------------------------------------------------------------------------


def test_variants_of_one_seed_start_from_equal_weights():
    for depth in (3, 10):
        variants = [v for v in VARIANTS if not v.larger_weights]
        networks = [build_network(64, 10, depth, v, Settings(), seed=5) for v in variants]
        linear = [[la for la in net.layers if isinstance(la, Linear)] for net in networks]
        for layers in linear[1:]:
            for layer, first in zip(layers, linear[0], strict=True):
                assert_same_bits(layer.parameters()["weight"], first.parameters()["weight"])


def test_the_control_starts_from_the_same_draws_at_a_larger_scale():
    settings = Settings()
    plain, larger = (
        [la.parameters()["weight"] for la in net.layers if isinstance(la, Linear)]
        for net in (build_network(64, 10, 3, v, settings, seed=5) for v in (NOTHING, CONTROL))
    )
    for index, (weight, scaled) in enumerate(zip(plain, larger, strict=True)):
        inputs = weight.shape[1]
        factor = 4 * np.sqrt(2 / (inputs + 100)) / 0.1 if index < 3 else 1.0
        np.testing.assert_allclose(scaled, factor * weight, LIMITS["float32"].fence_relative)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if not v.dropout], ids=lambda v: v.label)
def test_reach_by_another_way(variant):
    images, labels = images_and_labels(60, 3)
    images = images.reshape(60, 12).astype(np.float32) / 255
    settings = Settings(width=17)
    found = reach.measure_reach(build_network(12, 5, 4, variant, settings, 1), images, labels)
    net = build_network(12, 5, 4, variant, settings, 1)
    sigmoids = [i for i, layer in enumerate(net.layers) if isinstance(layer, Sigmoid)]
    inputs = [net[:i](images).astype(np.float64) for i in sigmoids]
    means = [x.mean(axis=0) for x in inputs]
    between = [((x - mean) ** 2).mean() for x, mean in zip(inputs, means, strict=True)]
    common = [mean.var() for mean in means]  # what all images have in common
    shares = [b / (b + c) for b, c in zip(between, common, strict=True)]
    np.testing.assert_allclose(found.shares, shares, EXACT)
    net.backward(softmax_cross_entropy(net(images), labels)[1])
    weights = [net.layers[i].gradients()["weight"] for i in range(len(net.layers) - 1)
               if isinstance(net.layers[i], Linear)]  # fmt: skip
    expected = [np.linalg.norm(w.astype(np.float64)) / np.sqrt(w.size) for w in weights]
    np.testing.assert_allclose(found.gradients, expected, EXACT)


def test_watching_a_network_does_not_change_its_training():
    pytest.importorskip("sklearn")
    dataset = data.load_digits(0)
    settings = Settings(steps=7, evaluations=1)
    for variant in VARIANTS:
        run = train(dataset, 3, variant, settings, seed=2)
        net = build_network(64, 10, 3, variant, settings, seed=2)
        optimiser = MomentumSGD(net, settings.learning_rate, settings.momentum)
        supply = data.batches(dataset, settings.batch_size, np.random.default_rng([2, 2]))
        before = look(net, dataset.test_images)[1]
        for _ in range(7):
            train_step(net, optimiser, *next(supply))
        assert run.percentiles == [before, look(net, dataset.test_images)[1]]
        assert run.steps == [0, 7] and (run.shares_before == []) == variant.dropout


def test_evaluations_include_the_first_and_the_last_step():
    for steps in (1, 7, 50, 1500):
        looks = evaluation_steps(Settings(steps=steps))
        assert looks[0] == 0 and looks[-1] == steps and len(looks) <= 51


def test_ten_sigmoid_layers_learn_with_batch_norm_and_not_without():
    """The claim of the batch norm paper's section 4.1, in 600 steps, from one initialisation."""
    pytest.importorskip("sklearn")
    dataset = data.load_digits(0)
    settings = Settings(steps=600, evaluations=2)
    with one_thread():
        results = {v.label: train(dataset, 10, v, settings, seed=0) for v in (NOTHING, BATCH_NORM)}
    assert results["nothing"].final_accuracy < CHANCE
    assert results["batch norm"].final_accuracy > LEARNT
    without, with_norm = (results[name].percentiles[-1] for name in ("nothing", "batch norm"))
    assert without[2] - without[0] < with_norm[2] - with_norm[0]


def test_ten_sigmoid_layers_learn_without_a_norm_from_larger_weights():
    pytest.importorskip("sklearn")
    with one_thread():
        run = train(data.load_digits(0), 10, CONTROL, Settings(evaluations=1), seed=1)
    assert wording.has_learnt(run.final_accuracy, classes=10)
    assert run.shares_before[-1] < LOST < run.shares_after[-1]


def test_layer_norm_loses_the_images_on_the_way_and_batch_norm_does_not():
    pytest.importorskip("sklearn")
    dataset = data.load_digits(0)
    settings = Settings(steps=1, evaluations=1)
    with one_thread():
        layer, batch = (train(dataset, 10, v, settings, seed=0) for v in (LAYER_NORM, BATCH_NORM))
    assert np.all(np.diff(layer.shares_before) < 0) and layer.shares_before[-1] < LOST
    assert min(batch.shares_before) > 1 - LOST
    assert layer.gradients_before[0] * FAR < batch.gradients_before[0]
