"""Result types: named fields, equality, copies, pickles, and what a mask says of itself."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

import normdrop as nd
from cases import normal
from comparing import assert_same_bits
from normdrop import reference


def results():
    x, weight = normal((7, 5), np.float32, "x"), normal((5,), np.float32, "weight")
    _, norm_stats = nd.layer_norm_forward(x)
    _, batch_stats = nd.batch_norm_forward(x)
    gradients = nd.layer_norm_backward(x, x, norm_stats, weight)
    no_parameters = nd.layer_norm_backward(x, x, norm_stats, bias=False)
    mask = nd.dropout_forward(x, 0.5, rng=3)[1]
    no_mean = nd.NormStats(None, norm_stats.inv_std)
    return {
        "NormStats without a mean": no_mean,
        "FusedNorm": nd.FusedNorm(x, x + 1, no_mean, mask),
        "FusedGradients": nd.FusedGradients(x, x + 1, weight, None),
        "GradientSums": nd.GradientSums(norm_stats.mean, norm_stats.inv_std, 7),
        "NormStats": norm_stats,
        "BatchStats": batch_stats,
        "Gradients": gradients,
        "Gradients without parameters": no_parameters,
        "DropoutMask": mask,
        "DropoutMask with shared axes": nd.dropout_forward(x, 0.5, rng=3, shared_axes=0)[1],
        "AlphaDropoutMask": nd.alpha_dropout_forward(x, 0.5, rng=(3, 4))[1],
        "GaussianDropoutMask": nd.gaussian_dropout_forward(x, 0.5, rng=3)[1],
        "UniformDropoutMask": nd.uniform_dropout_forward(x, 0.5, rng=3, shared_axes=1)[1],
    }


NAMES = list(results())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy,
                                       lambda r: pickle.loads(pickle.dumps(r))],
                         ids=["copy", "deepcopy", "pickle"])  # fmt: skip
def test_results_copy_and_pickle(name, duplicate):
    result = results()[name]
    other = duplicate(result)
    assert type(other) is type(result) and other == result
    assert not other != result  # noqa: SIM202 - the operator itself is tested
    assert repr(other) == repr(result)


def test_results_compare_by_value():
    stats = results()["NormStats"]
    different = stats._replace(mean=stats.mean + 1)
    assert stats != different
    assert not stats == different  # noqa: SIM201 - the operator itself is tested
    assert stats != "something else" and stats != (*stats, 1)
    gradients = results()["Gradients"]
    assert gradients != gradients._replace(bias=None)
    with_nan = stats._replace(mean=np.full(7, np.nan))
    assert with_nan == with_nan._replace(mean=np.full(7, np.nan))
    no_mean = stats._replace(mean=None)
    assert no_mean == stats._replace(mean=None) and no_mean != stats != no_mean
    sums = results()["GradientSums"]
    for other in (
        nd.GradientSums(sums.grad + 1, sums.grad_x_hat, 7),
        nd.GradientSums(sums.grad, sums.grad_x_hat + 1, 7),
        nd.GradientSums(sums.grad, sums.grad_x_hat, 8),
        (sums.grad, sums.grad_x_hat, 7),
    ):
        assert sums != other
    fused = results()["FusedNorm"]
    for name, other in (
        ("y", fused.sum),
        ("stats", stats),
        ("mask", nd.DropoutMask(1, 2, 0.5, (3,))),
    ):
        assert fused != fused._replace(**{name: other}), name
    with pytest.raises(TypeError):
        hash(sums)
    mask = nd.DropoutMask(1, 2, 0.5, (3,))
    assert mask == nd.DropoutMask(1, 2, 0.5, (3,))
    for other in ((0, 2, 0.5, (3,)), (1, 0, 0.5, (3,)), (1, 2, 0.4, (3,)), (1, 2, 0.5, (4,))):
        assert mask != nd.DropoutMask(*other)
    assert nd.DropoutMask(1, 2, 0.5, (3,), 0) == nd.DropoutMask(1, 2, 0.5, (3,), (-1,)) != mask
    for kind in (nd.AlphaDropoutMask, nd.GaussianDropoutMask, nd.UniformDropoutMask):
        other = kind(1, 2, 0.5, (3,))
        assert mask != other == kind(1, 2, 0.5, (3,)) and hash(other) == hash(kind(1, 2, 0.5, (3,)))
        assert repr(other).startswith(f"{kind.__name__}(seed=1, call=2, ")


def test_results_unpack_as_tuples():
    mean, inv_std = results()["NormStats"]
    assert mean.dtype == inv_std.dtype == np.float64
    mean, var, inv_std, count = results()["BatchStats"]
    assert count == 7 and isinstance(count, int) and var.dtype == np.float64
    x, weight, bias = results()["Gradients"]
    assert x.dtype == weight.dtype == bias.dtype == np.float32


def test_statistics_are_of_double_precision_whatever_the_data():
    """Rounded means spoil gradients; buffers of the data's dtype broke training (B10)."""
    for dtype in (np.float32, np.float64):
        x = normal((7, 5), dtype, "x", offset=1000.0)
        for result in (nd.layer_norm_forward(x)[1], nd.batch_norm_forward(x)[1]):
            assert result.mean.dtype == result.inv_std.dtype == np.float64
        assert not np.array_equal(nd.layer_norm_forward(x)[1].inv_std.astype(np.float32),
                                  nd.layer_norm_forward(x)[1].inv_std)  # fmt: skip


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 5, 7), (0,), (4, 0)])
def test_mask_fields(shape):
    mask = nd.dropout_forward(np.ones(shape, np.float32), 0.25, rng=(2**63 + 5, 2**64 - 1))[1]
    assert (mask.seed, mask.call, mask.p, mask.shape) == (2**63 + 5, 2**64 - 1, 0.25, shape)
    keep = mask.keep
    assert keep.dtype == np.bool_ and keep.shape == shape
    assert_same_bits(keep, reference.keep_mask(mask.seed, mask.call, 0.25, shape))
    assert set(keep.view(np.uint8).ravel().tolist()) <= {0, 1}
    packed = mask.packed()
    assert packed.dtype == np.uint8 and packed.shape == ((keep.size + 7) // 8,)
    unpacked = np.unpackbits(packed, bitorder="little", count=keep.size)
    assert_same_bits(unpacked.astype(bool), keep.ravel())
    assert mask.scale == 4 / 3 or mask.scale == pytest.approx(4 / 3, rel=1e-9)
    keep[...] = True  # what a mask gives away is its caller's
    assert_same_bits(mask.keep, reference.keep_mask(mask.seed, mask.call, 0.25, shape))


PACKED_SHAPES = [(2**22 - 1,), (2**22 + 3,), (3, 2**22, 1)]


@pytest.mark.parametrize("shape", PACKED_SHAPES)
def test_a_large_mask_packs_as_a_whole(shape):
    mask = nd.DropoutMask(3, 4, 0.5, shape)
    assert_same_bits(mask.packed(), np.packbits(mask.keep.ravel(), bitorder="little"))


def test_packing_a_mask_takes_little_more_than_the_bits():
    mask = nd.DropoutMask(3, 4, 0.5, (2**27,))
    mask.packed()  # what is allocated once is
    tracemalloc.start()
    try:
        packed = mask.packed()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert packed.nbytes == 2**24
    assert peak < 2 * packed.nbytes, "a byte an element would be eight times as much"


@pytest.mark.parametrize(
    ("shape", "kept", "packed"),
    [
        ((2**62, 4), 2**64, 2**61),
        ((2**61, 2), 2**62, 2**59),
        ((2**63 - 1, 2**63 - 1), (2**63 - 1) ** 2, (2**63 - 1) ** 2 // 8 + 1),
        ((2**63 - 1,), 2**63 - 1, 2**60),
    ],
)
def test_a_mask_that_is_too_large_says_how_large(shape, kept, packed):
    mask = nd.DropoutMask(1, 2, 0.5, shape)
    for name, size, make in (("keep", kept, lambda: mask.keep), ("packed", packed, mask.packed)):
        with pytest.raises(MemoryError) as caught:
            make()
        assert str(caught.value) == (
            f"DropoutMask: {name} needs {size} bytes for shape {shape}, more than there are"
        )


def test_a_size_beyond_64_bits_is_no_size():
    with pytest.raises(ValueError, match=r"DropoutMask: shape must hold .* got \(3, 9223372036854"):
        nd.DropoutMask(1, 2, 0.5, (3, 2**63))
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="dropout_backward: grad_output must have shape"):
        nd.dropout_backward(x, nd.DropoutMask(1, 2, 0.5, (2**63 - 1,)))


def test_mask_can_be_made_by_hand():
    x = normal((5, 7), np.float32, "x")
    y, mask = nd.dropout_forward(x, 0.5, rng=(3, 4))
    assert mask == nd.DropoutMask(3, 4, 0.5, (5, 7))
    assert_same_bits(nd.dropout_backward(x, nd.DropoutMask(3, 4, 0.5, (5, 7))), y)


def test_mask_is_immutable_and_hashable():
    mask = nd.DropoutMask(3, 4, 0.5, (5, 7))
    with pytest.raises((AttributeError, TypeError)):
        mask.seed = 5
    assert hash(mask) == hash(nd.DropoutMask(3, 4, 0.5, (5, 7)))


def test_from_running_copies():
    mean, var = np.zeros(3), np.ones(3)
    stats = nd.BatchStats.from_running(mean, var, 1e-5)
    mean += 1
    var += 1
    assert (stats.mean == 0).all() and (stats.var == 1).all()
    assert isinstance(stats, nd.BatchStats)
