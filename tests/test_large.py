"""Offsets and indices beyond 32 bits, cheaply: sparse mappings, counters set by hand (C1, C6)."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest

import normdrop as nd
from cases import normal, parameter
from comparing import assert_same_bits
from normdrop import _core, reference

ROW_GAP = 2**33  # bytes from one row to the next
ROWS, COLUMNS = 5, 37


def sparse_rows(shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Zeros whose memory is reserved and never touched, except where someone writes."""
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 4096
    try:
        memory = mmap.mmap(-1, reach, flags=flags)
    except (OSError, ValueError, OverflowError) as error:
        pytest.skip(f"no sparse mapping of {reach} bytes here: {error}")
    return np.ndarray(shape, np.float32, memory, 0, strides)


def spread(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """A copy whose ``axis`` strides over ``ROW_GAP`` bytes, the others packed."""
    strides = list(np.empty(np.delete(values.shape, axis), np.float32).strides)
    strides.insert(axis, ROW_GAP)
    wide = sparse_rows(values.shape, tuple(strides))
    wide[...] = values
    return wide


def test_layer_norm_of_rows_8_gib_apart(backend):
    """32-bit offsets wrap and read other rows (C1, C3, C5)."""
    x, grad = (normal((ROWS, COLUMNS), np.float32, name) for name in ("x", "grad"))
    weight, bias = (parameter((COLUMNS,), np.float32, name) for name in ("weight", "bias"))
    wide, wide_grad, out = spread(x), spread(grad), spread(np.zeros_like(x))
    expected, stats = nd.layer_norm_forward(x, weight, bias)
    y, wide_stats = nd.layer_norm_forward(wide, weight, bias, out=out)
    assert_same_bits((y.copy(), tuple(wide_stats)), (expected, tuple(stats)))
    assert_same_bits(nd.layer_norm(wide, weight, bias), expected)
    gradients = nd.layer_norm_backward(grad, x, stats, weight)
    got = nd.layer_norm_backward(wide_grad, wide, stats, weight, out=out)
    assert_same_bits((got.x.copy(), *got[1:]), tuple(gradients))


def test_batch_norm_of_images_8_gib_apart(backend):
    shape = (ROWS, 3, COLUMNS)
    x, grad = (normal(shape, np.float32, name) for name in ("x", "grad"))
    wide, wide_grad, out = spread(x), spread(grad), spread(np.zeros_like(x))
    expected, stats = nd.batch_norm_forward(x)
    y, wide_stats = nd.batch_norm_forward(wide, out=out)
    assert_same_bits((y.copy(), tuple(wide_stats)), (expected, tuple(stats)))
    inference = nd.batch_norm(x, stats.mean, stats.var)
    assert_same_bits(nd.batch_norm(wide, stats.mean, stats.var, out=out).copy(), inference)
    gradients = nd.batch_norm_backward(grad, x, stats)
    got = nd.batch_norm_backward(wide_grad, wide, stats, out=out)
    assert_same_bits(got.x.copy(), gradients.x)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_may_stride_over_8_gib(axis, backend):
    x = normal((3, 5, 7), np.float32, "x")
    wide, out = spread(x, axis), spread(np.zeros_like(x), axis)
    for norm_axis in (0, 1, 2):
        nd.layer_norm(wide, axis=norm_axis, out=out)
        same_order = np.array(wide, order="K", copy=True)
        assert_same_bits(out.copy(), nd.layer_norm(same_order, axis=norm_axis).copy())
    assert_same_bits(nd.dropout(wide, 0.5, rng=3, out=out).copy(), nd.dropout(x, 0.5, rng=3))


def test_negative_stride_of_8_gib(backend):
    x = normal((ROWS, COLUMNS), np.float32, "x")
    wide = spread(x[::-1])[::-1]
    assert wide.strides[0] == -ROW_GAP
    assert_same_bits(nd.layer_norm(wide), nd.layer_norm(x))
    assert_same_bits(nd.dropout(wide, 0.5, rng=3), nd.dropout(x, 0.5, rng=3))


@pytest.mark.parametrize("first", [2**31 - 8, 2**32 - 8, 2**34 - 10, 2**34 - 3, 2**40 + 1, 2**62])
def test_dropout_index_beyond_32_bits(first, backend):
    """The kernels' counter is 64 bits wide: a truncated index repeats the mask (J8, J15, C12)."""
    threshold = 2**31
    keep = _core.dropout_keep(5, 6, threshold, first, 300).view(np.bool_)
    assert_same_bits(keep, reference.keep_mask(5, 6, 0.5, (300,), first=first))


def test_dropout_words_go_on_across_the_carry(backend):
    """Blocks 2**32 - 1 and 2**32 of the published carry vectors, by a threshold above each word."""
    words = reference.words_by_index(0x12345678_DEADBEEF, 0, 4 * 0xFFFFFFFF, 8)
    assert words[0] == 0x7D1F4A7E and words[4] == 0xC808FA82
    for i, word in enumerate(words.tolist()):
        for threshold, kept in ((word, 0), (word + 1, 1)):
            keep = _core.dropout_keep(0x12345678_DEADBEEF, 0, threshold, 4 * 0xFFFFFFFF, 8)
            assert keep[i] == kept
