"""Axes along which one draw serves all, in every function of dropout's family."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import normdrop as nd
from cases import LAYOUTS, normal
from comparing import assert_same_bits
from noise_cases import FAMILY, forward_is_the_definition
from normdrop import reference

pytestmark = pytest.mark.usefixtures("backend")

# Runs of one word below and above a vector's length, rows that find words again, axes in turns.
SHAPES = [(7,), (5, 11), (3, 5, 7), (2, 3, 37, 5), (2, 3, 2, 5, 2, 3), (3, 1, 53, 1)]


def subsets(rank: int) -> list[tuple[int, ...]]:
    return [axes for k in range(rank + 1) for axes in itertools.combinations(range(rank), k)]


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_subset_of_axes(function, shape, dtype, unchanged):
    """Each element takes the word of its index in the shape whose shared axes are 1 (J25)."""
    x = normal(shape, dtype, "x")
    unchanged(x)
    for axes in subsets(len(shape)):
        forward_is_the_definition(function, x, (2**33 + 5, 6), axes)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((3, 5, 31, 33), (2, 3)),  # runs that are no multiple of a vector
        ((2, 70_001), (1,)),  # one word for more than a block
        ((5, 20_011), (0,)),  # rows longer than what is drawn at a time
        ((3, 5, 1031), (0,)),
        ((33, 2, 257), (1,)),
        ((2001, 3, 7), (0, 2)),
        ((17, 3, 211), (0, 1, 2)),
    ],
    ids=str,
)
def test_longer_than_blocks_of_work_whatever_the_threads(function, shape, axes, threads):
    x = normal(shape, np.float32, "x")
    for count in (1, 3):
        threads(count)
        forward_is_the_definition(function, x, 8, axes)


@pytest.mark.parametrize("function", FAMILY)
def test_outputs_written_past_the_caches(function):
    """Of many megabytes, from the first cache line of each run on."""
    x = normal((3, 1_100_003), np.float32, "x")
    for axes in ((0,), (1,)):
        forward_is_the_definition(function, x, 9, axes)


@pytest.mark.parametrize("function", FAMILY)
def test_every_layout(function, dtype):
    for layout, make in LAYOUTS.items():
        x = make(normal((5, 7, 11), dtype, "x"))
        forward_is_the_definition(function, x, 3, (0, 2), layout)


@pytest.mark.parametrize("function", FAMILY)
def test_backward_has_the_draws_of_the_forward(function, dtype):
    x, grad = normal((3, 5, 7, 11), dtype, "x"), normal((3, 5, 7, 11), dtype, "grad")
    for axes in ((2, 3), 0, -1, (1, 2, 3), ()):
        _, mask = FAMILY[function].forward(x, rng=(8, 9), shared_axes=axes)
        FAMILY[function].check_backward(grad, mask)


@pytest.mark.parametrize("function", FAMILY)
def test_out_and_in_place(function, dtype):
    call = FAMILY[function]
    x = normal((5, 7, 37), dtype, "x")
    for axes in (1, (0, 2), 2):
        expected, mask = call.forward(x, rng=3, shared_axes=axes)
        for out in (np.full_like(x, np.nan), np.full((5, 7, 74), np.nan, dtype)[..., ::2]):
            assert call.forward(x, rng=3, shared_axes=axes, out=out)[0] is out
            assert_same_bits(out.copy(), expected)
            assert call.plain(x, rng=3, shared_axes=axes, out=out) is out
        same = x.copy()
        assert call.plain(same, rng=3, shared_axes=axes, out=same) is same
        assert_same_bits(same, expected)
        grad = call.backward(x, mask)
        same = x.copy()
        assert call.backward(same, mask, out=same) is same
        assert_same_bits(same, grad)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5, 7), (3, 0, 7)], ids=str)
def test_empty_arrays(function, shape, dtype):
    for axes in subsets(len(shape)):
        y, mask = FAMILY[function].forward(np.empty(shape, dtype), rng=3, shared_axes=axes)
        assert y.shape == shape and y.dtype == dtype and mask.shared_axes == axes
        assert FAMILY[function].backward(y, mask).shape == shape


@pytest.mark.parametrize("function", FAMILY)
def test_zero_dimensional_arrays(function, dtype):
    x = np.array(3.0, dtype)
    y, _ = FAMILY[function].forward(x, rng=3, shared_axes=())
    assert y.shape == () and y.dtype == dtype
    expected = FAMILY[function].forward(x.reshape(1), rng=3)[0]
    assert_same_bits(y.reshape(1), expected)
    with pytest.raises(ValueError, match="shared_axes must be from 0 to -1"):
        FAMILY[function].plain(x, rng=3, shared_axes=0)


def test_spatial_dropout_drops_whole_maps():
    x = normal((7, 5, 11, 13), np.float32, "x")
    y, mask = nd.dropout_forward(x, 0.5, rng=7, shared_axes=(2, 3))
    maps = nd.DropoutMask(7, 0, 0.5, (7, 5)).keep
    assert_same_bits(mask.keep, np.broadcast_to(maps[:, :, None, None], x.shape).copy())
    assert_same_bits(y, np.where(mask.keep, x * np.float32(2), np.float32(0)))
    assert 0 < maps.sum() < maps.size


def test_drop_path_drops_whole_samples():
    y = nd.dropout(np.ones((64, 3, 5, 7)), 0.5, rng=7, shared_axes=(1, 2, 3))
    per_sample = y.reshape(64, -1)
    assert (per_sample == per_sample[:, :1]).all()
    assert_same_bits(per_sample[:, 0] != 0, nd.DropoutMask(7, 0, 0.5, (64,)).keep)


def test_a_locked_mask_is_the_same_at_every_step():
    y = nd.dropout(np.ones((9, 3, 257)), 0.5, rng=7, shared_axes=0)
    assert (y == y[:1]).all()
    assert_same_bits(y[0] != 0, nd.DropoutMask(7, 0, 0.5, (3, 257)).keep)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_dropped_run_is_0_whatever_was_there(bad, dtype):
    """Also where the run is shorter than a vector, and longer (J20)."""
    for length in (3, 17, 300):
        x = np.full((101, length), bad, dtype)
        y, mask = nd.dropout_forward(x, 0.5, rng=3, shared_axes=1)
        assert_same_bits(y, np.where(mask.keep, dtype(bad), dtype(0)))


@pytest.mark.parametrize("function", FAMILY)
def test_axes_may_be_named_in_any_way(function):
    x = normal((3, 5, 7), np.float32, "x")
    call = FAMILY[function].forward
    expected, mask = call(x, rng=3, shared_axes=(0, 2))
    for axes in ((2, 0), (-1, 0), (-3, -1), (np.int64(0), np.int8(2))):
        y, other = call(x, rng=3, shared_axes=axes)
        assert_same_bits(y, expected)
        assert other == mask and other.shared_axes == (0, 2)
    assert call(x, rng=3, shared_axes=1)[1] == call(x, rng=3, shared_axes=(-2,))[1] != mask


def test_masks_keep_and_pack_their_elements_as_the_definition_does():
    for shape in SHAPES:
        for axes in subsets(len(shape)):
            mask = nd.DropoutMask(2**63, 5, 0.4, shape, axes)
            expected = reference.keep_mask(2**63, 5, 0.4, shape, shared_axes=axes)
            assert_same_bits(mask.keep, expected, str(axes))
            assert_same_bits(mask.packed(), np.packbits(expected, axis=None, bitorder="little"))


def test_a_large_mask_with_shared_axes_packs_as_a_whole():
    mask = nd.DropoutMask(3, 4, 0.5, (3, 2**21 + 3, 3), (0, 2))
    assert_same_bits(mask.packed(), np.packbits(mask.keep.ravel(), bitorder="little"))


def test_what_a_mask_gives_away_is_its_callers():
    mask = nd.DropoutMask(3, 4, 0.5, (5, 7), (0,))
    keep = mask.keep
    keep[...] = True
    assert not mask.keep.all()


def test_one_draw_too_many_is_noticed():
    x = np.ones((5, 7, 11), np.float32)
    y = nd.dropout(x, 0.5, rng=3, shared_axes=(1,))
    for other in ((), (0,), (2,), (1, 2)):
        with pytest.raises(AssertionError):
            assert_same_bits(y, reference.dropout(x, 0.5, rng=3, shared_axes=other))
