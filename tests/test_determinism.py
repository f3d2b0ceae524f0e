"""Same values in the same memory order, same bits: threads, batches and addresses do not count.

Only backends and memory orders may differ, and by no more than rounding allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normdrop as nd
from cases import at_byte_offset, normal, parameter
from comparing import assert_same_bits, assert_within
from good_calls import Case, Geometry, cases, get, put, with_changed
from oracles import Exact, error_in_units
from tolerances import BETWEEN_BACKENDS, limits

THREADS = (1, 2, 3, 7)
Geometries = dict[str, list[Geometry]]

# Large enough to be cut among threads; rows, columns and channels, few and many.
LARGE: Geometries = {
    "over_axes": [((2003, 769), -1), ((31, 40_009), -1), ((1, 1_000_003), -1),
                  ((7, 769, 211), 1), ((769, 2003), 0), ((262_147, 5), -1)],
    "per_channel": [((8, 17, 56, 56), 1), ((8191, 131), 1), ((8, 56, 56, 17), -1),
                    ((3, 2, 200_003), 1), ((64, 512, 7, 7), 1), ((200_003, 3), 1)],
    "channel_groups": [((8, 68, 28, 28), 1, 17), ((8, 28, 28, 68), -1, 4), ((2003, 768), 1, 3),
                       ((3, 4, 100_003), 1, 2), ((1, 6, 200_003), 1, 1)],
    "elements": [((700_001,),), ((2003, 769),)],
}  # fmt: skip


@pytest.mark.parametrize("case", cases(LARGE), ids=str)
def test_threads_do_not_count(case, cpu_backend, threads):
    """A reduction tree that follows the threads moves the last bits (I10); masks too (J9, J12)."""
    arguments = case.arguments(np.float32)
    threads(1)
    expected = case.function.call(**arguments)
    for count in THREADS[1:]:
        threads(count)
        assert_same_bits(case.function.call(**arguments), expected, f"{count} threads")


def test_threads_do_not_change_masks(backend, threads, dtype):
    x = normal((700_001,), dtype, "x")
    threads(1)
    y, mask = nd.dropout_forward(x, 0.3, rng=(3, 4))
    keep = mask.keep
    for count in THREADS[1:]:
        threads(count)
        assert_same_bits(nd.dropout(x, 0.3, rng=(3, 4)), y)
        assert_same_bits(mask.keep, keep)


# Other rows of a batch ---------------------------------------------------------------------------

LENGTHS = (1, 3, 16, 37, 64, 257, 769, 5003)
BATCHES: Geometries = {
    "over_axes": [*(((67, length), -1) for length in LENGTHS), ((67, 5, 37), 1), ((5, 67, 37), 1)],
    "per_channel": [((67, 37), 1), ((11, 7, 37), 1), ((11, 37, 7), -1)],
    "channel_groups": [((67, 36), 1, 3), ((11, 6, 37), 1, 3), ((11, 37, 12), -1, 4),
                       ((11, 6, 5003), 1, 2)],
    "elements": [],
}  # fmt: skip


def has_rows_of_its_own(case: Case) -> bool:
    """Whether elements of different indices of the first axis have nothing in common in y."""
    return case.function.kind != "per_channel" or case.function.rows_are_independent


@pytest.mark.parametrize("case", [case for case in cases(BATCHES) if has_rows_of_its_own(case)],
                         ids=str)  # fmt: skip
def test_a_row_does_not_depend_on_its_batch(case, dtype, backend):
    """Block sizes chosen by the number of rows changed results (I6, C2)."""
    arguments = case.arguments(dtype)
    whole = case.function.results(case.function.call(**arguments), arguments)
    rows = case.shape[0]
    parts = [(0, 1), (0, rows // 2)]
    if not case.function.passed("draw"):  # elements have numbers, from the first one on
        parts += [(rows - 1, rows), (rows // 5, rows // 5 + 1), (5, 8), (1, rows)]
    for first, last in parts:
        part = Case(case.function, (last - first, *case.shape[1:]), case.options)
        fewer = dict(arguments)
        roles = ["leader", "like"]
        if case.function.kind != "per_channel":  # there statistics are of channels, not of rows
            roles += ["statistic", "statistics"]
        for argument in case.function.arrays(*roles):
            put(fewer, argument, get(arguments, argument)[first:last].copy())
        alone = part.function.results(part.function.call(**renumbered(part, fewer)), fewer)
        for got, expected in zip(alone, whole, strict=True):
            if got.role != "gradient":  # the sums over all rows
                where = f"{got.name} of rows {first} to {last}"
                assert_same_bits(got.array, expected.array[first:last], where)


def renumbered(case: Case, arguments: dict[str, Any]) -> dict[str, Any]:
    """With masks of fewer rows."""
    fused = arguments.get("fused")
    if fused is None:
        return arguments
    mask = nd.DropoutMask(fused.mask.seed, fused.mask.call, fused.mask.p, case.shape)
    return with_changed(arguments, "fused.mask", mask)


# What is odd about one set -----------------------------------------------------------------------

# What makes one set odd, so that it cannot take the ordinary way: in which arrays, the value, and
# whether it stands in all elements or in one.
ODD = {
    "NaN in a gradient": ("like", np.nan, "one"),
    "an infinite gradient": ("like", np.inf, "one"),
    "tiny gradients": ("like", 1e-30, "all"),
    "huge gradients": ("like", 1e30, "all"),
    "gradients of 0": ("like", 0.0, "all"),
    "NaN in x": ("leader", np.nan, "one"),
    "an infinite x": ("leader", -np.inf, "one"),
    "a constant x": ("leader", 3.0, "all"),
    "huge x": ("leader", 1e30, "all"),
    "a statistic of NaN": ("statistics", np.nan, "all"),
    "an infinite statistic": ("statistics", np.inf, "all"),
}
SETS: Geometries = {
    "over_axes": [((11, 29), -1), ((11, 257), -1), ((37, 203), 0), ((5, 7, 37), 1)],
    "per_channel": [((203, 37), 1), ((7, 37, 29), 1), ((7, 3, 211), 1), ((611, 3), 1),
                    ((7, 29, 37), -1)],
    "channel_groups": [((7, 36), 1, 12), ((5, 6, 29), 1, 3), ((5, 29, 12), -1, 4),
                       ((3, 4, 211), 1, 2)],
    "elements": [],
}  # fmt: skip


def of_set(case: Case, array: np.ndarray, place: tuple[int, ...]) -> Any:
    """The index of one set in an array like x or in a statistic."""
    if array.shape == case.statistic_shape and array.shape != case.shape:
        return place
    apart, along = case.sets
    index: list[Any] = [slice(None)] * array.ndim
    for axis, at in zip(apart, place, strict=True):
        index[axis] = at
    if case.function.kind == "channel_groups":
        size = case.shape[along[0]] // case.groups
        index[along[0]] = slice(place[1] * size, (place[1] + 1) * size)
    return tuple(index)


def with_odd(case: Case, arguments: dict[str, Any], place: tuple[int, ...], kind: str) -> Any:
    """Copies of the arguments that are odd in one set, or None where there is no such array."""
    role, value, extent = ODD[kind]
    names = case.function.arrays(*{"statistics": ("statistics", "statistic")}.get(role, (role,)))
    if not names:
        return None
    changed = dict(arguments)
    for name in names:
        array = get(arguments, name).copy()
        index = of_set(case, array, place)
        part = np.atleast_1d(array[index]).copy()
        with np.errstate(over="ignore"):
            part[... if extent == "all" else (-1,) * part.ndim] = value
        array[index] = part.reshape(array[index].shape)
        put(changed, name, array)
    return changed


def of_others(case: Case, returned: Any, arguments: Any, place: tuple[int, ...]) -> list[Any]:
    """What results say of all other sets; sums over all rows are the only ones it may reach."""
    found = []
    for one in case.function.results(returned, arguments):
        if one.role in ("gradient", "new_count"):
            of_channels = one.role == "gradient" and case.function.kind != "over_axes"
            found.append(_of_other_channels(case, one.array, place) if of_channels else None)
            continue
        array = one.array.copy()
        array[of_set(case, array, place)] = 0
        found.append(array)
    return found


def _of_other_channels(case: Case, gradient: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    size = gradient.size // (case.groups if case.function.kind == "channel_groups" else 1)
    if case.function.kind == "channel_groups":
        return np.delete(gradient, slice(place[1] * size, (place[1] + 1) * size))
    return np.delete(gradient, place[0])


@pytest.mark.parametrize("case", cases(SETS), ids=str)
def test_an_odd_set_moves_no_bit_of_the_others(case, dtype, backend):
    """Every result of every other set, also where some of them are done in one vector."""
    arguments = case.arguments(dtype)
    expected = case.function.call(**arguments)
    shape = case.statistic_shape
    places = [tuple(0 for _ in shape), tuple(n // 2 for n in shape), tuple(n - 1 for n in shape)]
    tried = 0
    for kind in ODD:
        for place in places:
            odd = with_odd(case, arguments, place, kind)
            if odd is None:
                continue
            tried += 1
            got = of_others(case, case.function.call(**odd), odd, place)
            for left, right in zip(got, of_others(case, expected, arguments, place), strict=True):
                assert_same_bits(left, right, f"{kind} in set {place}")
    assert tried >= 4 * len(places)


# Addresses ---------------------------------------------------------------------------------------

OFFSETS = [*range(0, 64, 4), 1, 2, 3, 7, 33, 63]
ONE: Geometries = {
    "over_axes": [((7, 257), -1)],
    "per_channel": [((7, 257), 1)],
    "channel_groups": [((7, 258), 1, 3)],
    "elements": [((7, 257),)],
}


@pytest.mark.parametrize("case", cases(ONE, short=True), ids=str)
def test_addresses_do_not_count(case, dtype, backend):
    """Lanes by address, and pointers assumed aligned (D2, D3, D4, D5)."""
    arguments = case.arguments(dtype)
    expected = case.function.call(**arguments)
    for offset in OFFSETS:
        where = f"{offset} bytes behind a boundary"
        for argument in case.function.arrays():
            moved = at_byte_offset(get(arguments, argument), offset)
            got = case.function.call(**with_changed(arguments, argument, moved))
            assert_same_bits(got, expected, f"{argument} {where}")
        if case.function.out:
            out = at_byte_offset(np.zeros(case.shape, dtype), offset)
            got = case.function.call(**arguments, out=out)
            assert_same_bits(got, expected, f"out {where}")


REPEATED: Geometries = {
    "over_axes": [((301, 769), -1)],
    "per_channel": [((301, 769), 1)],
    "channel_groups": [((29, 70, 11), 1, 7)],
    "elements": [((301, 769),)],
}


@pytest.mark.parametrize("case", cases(REPEATED), ids=str)
def test_repeated_calls_give_the_same_bits(case, dtype, backend):
    arguments = case.arguments(dtype)
    first = case.function.call(**arguments)
    for _ in range(3):
        assert_same_bits(case.function.call(**arguments), first)


# Backends and memory orders ----------------------------------------------------------------------


def arrays(shape, size, dtype):
    return (
        normal(shape, dtype, "x", offset=2.0),
        parameter((size,), dtype, "weight"),
        parameter((size,), dtype, "bias"),
    )


def assert_close(got, expected, without_bias, dtype):
    scale = np.maximum(np.abs(expected), np.abs(without_bias)).astype(np.float64)
    exact = Exact(expected.astype(np.float64), np.zeros(expected.shape), scale)
    assert_within(error_in_units(got, exact), BETWEEN_BACKENDS * limits(dtype).forward)


@pytest.mark.parametrize("name", nd.backends()[1:])
def test_backends_agree(name, dtype):
    """A wrong result on one instruction set only (D20, D23); masks have the same bits."""
    x, weight, bias = arrays((67, 257), 257, dtype)
    results = []
    for chosen in (nd.backends()[0], name):
        with nd.use_backend(chosen):
            results.append((
                nd.layer_norm(x, weight, bias),
                nd.batch_norm_forward(x, weight, bias)[0],
                nd.dropout_forward(x, 0.3, rng=(5, 6))[0],
                nd.DropoutMask(5, 6, 0.3, (1001,)).keep,
            ))  # fmt: skip
    plain = nd.layer_norm(x, weight), nd.batch_norm_forward(x, weight)[0]
    for i in range(2):
        assert_close(results[1][i], results[0][i], plain[i], dtype)
    assert_same_bits(results[1][2:], results[0][2:])


FUSED = [name for name in ("avx2", "avx512") if name in nd.backends()]


@pytest.mark.parametrize("case", cases(ONE), ids=str)
@pytest.mark.skipif(len(FUSED) < 2, reason="needs AVX2 and AVX-512")
def test_backends_with_a_fused_multiply_add_agree_to_the_bit(case, dtype):
    arguments = case.arguments(dtype)
    results = []
    for name in FUSED:
        with nd.use_backend(name):
            results.append(case.function.call(**arguments))
    assert_same_bits(*results)


def test_memory_orders_agree(dtype, backend):
    x, weight, bias = arrays((67, 257), 257, dtype)
    plain = nd.layer_norm(x, weight)
    y = nd.layer_norm(np.asfortranarray(x), weight, bias)
    assert_close(y.copy(), nd.layer_norm(x, weight, bias), plain, dtype)
