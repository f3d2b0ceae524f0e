"""Same values in the same memory order, same bits: threads, batches and addresses do not count.

Only backends and memory orders may differ, and by no more than rounding allows.
"""

from __future__ import annotations

import numpy as np
import pytest
from ml_dtypes import finfo

import normdrop as nd
from cases import at_byte_offset, normal, parameter
from comparing import assert_same_bits, assert_within
from oracles import Exact, error_in_units
from tolerances import BETWEEN_BACKENDS, limits

THREADS = (1, 2, 3, 7)


def layer_norm_results(x, grad, weight, bias, axis=-1):
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis)
    return y, stats, nd.layer_norm_backward(grad, x, stats, weight, axis=axis)


def batch_norm_results(x, grad, weight, bias, axis=1):
    y, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    inference = nd.batch_norm(x, stats.mean, stats.var, weight, bias, channel_axis=axis)
    training = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis)
    frozen = nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis, frozen=True)
    return y, stats, inference, training, frozen


def arrays(shape, size, dtype):
    return (
        normal(shape, dtype, "x", offset=2.0),
        normal(shape, dtype, "grad"),
        parameter((size,), dtype, "weight"),
        parameter((size,), dtype, "bias"),
    )


# Large enough to be cut among threads; rows and columns, few and many.
LARGE_LAYER_NORMS = [((2003, 769), -1), ((31, 40_009), -1), ((1, 1_000_003), -1),
                     ((7, 769, 211), 1), ((769, 2003), 0), ((262_147, 5), -1)]  # fmt: skip
LARGE_BATCH_NORMS = [((8, 17, 56, 56), 1), ((8191, 131), 1), ((8, 56, 56, 17), -1),
                     ((3, 2, 200_003), 1), ((64, 512, 7, 7), 1), ((200_003, 3), 1)]  # fmt: skip


@pytest.mark.parametrize(("shape", "axis"), LARGE_LAYER_NORMS)
def test_threads_do_not_change_layer_norm(shape, axis, backend, threads):
    """A reduction tree that follows the threads moves the last bits (I10)."""
    data = arrays(shape, shape[axis], np.float32)
    threads(1)
    expected = layer_norm_results(*data, axis=axis)
    for count in THREADS[1:]:
        threads(count)
        assert_same_bits(layer_norm_results(*data, axis=axis), expected, f"{count} threads")


@pytest.mark.parametrize(("shape", "axis"), LARGE_BATCH_NORMS)
def test_threads_do_not_change_batch_norm(shape, axis, backend, threads):
    data = arrays(shape, shape[axis], np.float32)
    threads(1)
    expected = batch_norm_results(*data, axis=axis)
    for count in THREADS[1:]:
        threads(count)
        assert_same_bits(batch_norm_results(*data, axis=axis), expected, f"{count} threads")


def test_threads_do_not_change_dropout(backend, threads, dtype):
    """Masks seeded per thread (J9, J12)."""
    x = normal((700_001,), dtype, "x")
    threads(1)
    y, mask = nd.dropout_forward(x, 0.3, rng=(3, 4))
    keep = mask.keep
    for count in THREADS[1:]:
        threads(count)
        assert_same_bits(nd.dropout(x, 0.3, rng=(3, 4)), y)
        assert_same_bits(mask.keep, keep)


@pytest.mark.parametrize("length", [1, 3, 16, 37, 64, 257, 769, 5003])
def test_a_row_does_not_depend_on_its_batch(length, dtype, backend):
    """Block sizes chosen by the number of rows changed results (I6, C2)."""
    x, grad, weight, bias = arrays((67, length), length, dtype)
    y, stats, gradients = layer_norm_results(x, grad, weight, bias)
    for first, last in ((0, 1), (66, 67), (13, 14), (5, 8), (0, 33), (1, 67)):
        rows = slice(first, last)
        alone, alone_stats, alone_gradients = layer_norm_results(
            x[rows].copy(), grad[rows].copy(), weight, bias
        )
        assert_same_bits(alone, y[rows])
        assert_same_bits(alone_gradients.x, gradients.x[rows])
        assert_same_bits(tuple(alone_stats), tuple(s[rows] for s in stats))


def test_a_sample_of_channels_first_rows_does_not_depend_on_its_batch(dtype, backend):
    x, grad, weight, bias = arrays((5, 67, 37), 67, dtype)
    y, _, gradients = layer_norm_results(x, grad, weight, bias, axis=1)
    alone, _, alone_gradients = layer_norm_results(x[3:4], grad[3:4], weight, bias, axis=1)
    assert_same_bits((alone, alone_gradients.x), (y[3:4], gradients.x[3:4]))


@pytest.mark.parametrize(("shape", "axis"), [((67, 37), 1), ((5, 7, 131), 1), ((5, 131, 7), -1)])
def test_a_channel_does_not_depend_on_the_values_of_others(shape, axis, dtype, backend):
    x, grad, weight, bias = arrays(shape, shape[axis], dtype)
    first = batch_norm_results(x, grad, weight, bias, axis=axis)
    moved, moved_grad = (np.moveaxis(a.copy(), axis, 0) for a in (x, grad))
    moved[[0, 1, 3]] *= dtype(min(1e6, float(finfo(dtype).max) / 64))
    moved_grad[4:] = np.nan
    other = batch_norm_results(
        *(np.moveaxis(a, 0, axis) for a in (moved, moved_grad)), weight, bias, axis=axis
    )
    for before, after in ((first[0], other[0]), (first[2], other[2]), (first[3].x, other[3].x)):
        pair = [np.moveaxis(a, axis, 0)[2].copy() for a in (after, before)]
        assert_same_bits(*pair)


# What makes one row or channel odd, so that it cannot take the ordinary way: in which array, the
# value, and whether it stands in all elements or in one.
ODD = {
    "NaN in a gradient": ("grad", np.nan, "one"),
    "an infinite gradient": ("grad", np.inf, "one"),
    "tiny gradients": ("grad", 1e-30, "all"),
    "huge gradients": ("grad", 1e30, "all"),
    "gradients of 0": ("grad", 0.0, "all"),
    "NaN in x": ("x", np.nan, "one"),
    "an infinite x": ("x", -np.inf, "one"),
    "a constant x": ("x", 3.0, "all"),
}


def with_odd(x, grad, axis, place, kind):
    """Copies of x and grad_output that are odd at one index of an axis."""
    array, value, extent = ODD[kind]
    copies = {"x": x.copy(), "grad": grad.copy()}
    part = np.moveaxis(copies[array], axis, 0)[place]
    with np.errstate(over="ignore"):
        part[... if extent == "all" else (-1,) * part.ndim] = value
    return copies["x"], copies["grad"]


def of_others(results, axis, place):
    """What results, nested as they are, say of all other channels."""
    if isinstance(results, tuple):
        return tuple(of_others(result, axis, place) for result in results)
    if not isinstance(results, np.ndarray):
        return results
    return np.delete(results, place, 0 if results.ndim == 1 else axis)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(("shape", "axis"), [((203, 37), 1), ((7, 37, 29), 1), ((7, 3, 211), 1),
                                             ((611, 3), 1), ((7, 29, 37), -1)])  # fmt: skip
def test_an_odd_channel_moves_no_bit_of_the_others(shape, axis, kind, dtype, backend):
    """Every result of every other channel, also where most of them are done in one vector."""
    x, grad, weight, bias = arrays(shape, shape[axis], dtype)
    expected = batch_norm_results(x, grad, weight, bias, axis=axis)
    for place in (0, shape[axis] // 2, shape[axis] - 1):
        odd = with_odd(x, grad, axis, place, kind)
        got = batch_norm_results(*odd, weight, bias, axis=axis)
        assert_same_bits(of_others(got, axis, place), of_others(expected, axis, place))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("length", [29, 257])
def test_an_odd_row_moves_no_bit_of_the_others(length, kind, dtype, backend):
    """Rows are done some at a time; the sums over all of them are the only ones it reaches."""
    x, grad, weight, bias = arrays((11, length), length, dtype)
    y, stats, gradients = layer_norm_results(x, grad, weight, bias)
    for place in (0, 5, 10):
        odd_y, odd_stats, odd_gradients = layer_norm_results(
            *with_odd(x, grad, 0, place, kind), weight, bias
        )
        got, expected = (odd_y, odd_stats, odd_gradients.x), (y, stats, gradients.x)
        assert_same_bits(of_others(got, 0, place), of_others(expected, 0, place))


OFFSETS = [*range(0, 64, 4), 1, 2, 3, 7, 33, 63]


@pytest.mark.parametrize("offset", OFFSETS)
def test_addresses_do_not_count(offset, dtype, backend):
    """Lanes by address, and pointers assumed aligned (D2, D3, D4, D5)."""
    data = arrays((7, 257), 257, dtype)
    expected = layer_norm_results(*data)
    channels = batch_norm_results(*data)
    dropped = nd.dropout(data[0], 0.5, rng=3)
    for i in range(len(data)):
        moved = list(data)
        moved[i] = at_byte_offset(data[i], offset)
        assert_same_bits(layer_norm_results(*moved), expected)
        assert_same_bits(batch_norm_results(*moved), channels)
    out = at_byte_offset(data[0], offset)
    assert_same_bits(nd.layer_norm(*data[:1], *data[2:], out=out).copy(), expected[0])
    assert_same_bits(nd.dropout(at_byte_offset(data[0], offset), 0.5, rng=3), dropped)
    assert_same_bits(nd.dropout(data[0], 0.5, rng=3, out=out).copy(), dropped)


def test_repeated_calls_give_the_same_bits(dtype, backend):
    data = arrays((301, 769), 769, dtype)
    first = layer_norm_results(*data), batch_norm_results(*data)
    for _ in range(3):
        assert_same_bits((layer_norm_results(*data), batch_norm_results(*data)), first)


def assert_close(got, expected, without_bias, dtype):
    scale = np.maximum(np.abs(expected), np.abs(without_bias)).astype(np.float64)
    exact = Exact(expected.astype(np.float64), np.zeros(expected.shape), scale)
    assert_within(error_in_units(got, exact), BETWEEN_BACKENDS * limits(dtype).forward)


@pytest.mark.parametrize("name", nd.backends()[1:])
def test_backends_agree(name, dtype):
    """A wrong result on one instruction set only (D20, D23); masks have the same bits."""
    data = arrays((67, 257), 257, dtype)
    results = []
    for chosen in (nd.backends()[0], name):
        with nd.use_backend(chosen):
            results.append((
                nd.layer_norm(data[0], *data[2:]),
                nd.batch_norm_forward(data[0], *data[2:])[0],
                nd.dropout_forward(data[0], 0.3, rng=(5, 6))[0],
                nd.DropoutMask(5, 6, 0.3, (1001,)).keep,
            ))  # fmt: skip
    plain = nd.layer_norm(data[0], data[2]), nd.batch_norm_forward(data[0], data[2])[0]
    for i in range(2):
        assert_close(results[1][i], results[0][i], plain[i], dtype)
    assert_same_bits(results[1][2:], results[0][2:])


def test_memory_orders_agree(dtype, backend):
    x, _, weight, bias = arrays((67, 257), 257, dtype)
    plain = nd.layer_norm(x, weight)
    y = nd.layer_norm(np.asfortranarray(x), weight, bias)
    assert_close(y.copy(), nd.layer_norm(x, weight, bias), plain, dtype)
