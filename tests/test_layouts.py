"""Every layout of every array argument of every operation gives the bits of the packed call.

Strides that are mistaken for rows, vectors that assume alignment and reshapes that copy have
broken half of the layouts elsewhere (D1 to D7, K5, K6, K8).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES, LAYOUTS, normal
from comparing import assert_same_bits
from good_calls import Case, Geometry, cases, get, put, with_changed
from normdrop import reference

pytestmark = pytest.mark.usefixtures("backend")

CASES = cases()
OF_THREE_AXES: dict[str, list[Geometry]] = {
    "over_axes": [((5, 7, 11), 1)],
    "per_channel": [((5, 7, 11), 1)],
    "channel_groups": [((5, 6, 11), 1, 3)],
    "elements": [((5, 7, 11),)],
}
OF_TWO_AXES: dict[str, list[Geometry]] = {
    "over_axes": [((7, 33), -1)],
    "per_channel": [((7, 33), 1)],
    "channel_groups": [((7, 33), 1, 3)],
    "elements": [((7, 33),)],
}
WITH_OUT = [case for case in cases(OF_THREE_AXES, short=True) if case.function.out]
LIKE_X = ("leader", "like")


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Layouts are told apart by strides; a test of its own has elements of two bytes."""
    return request.param


def same_order(array: np.ndarray) -> np.ndarray:
    """A packed copy in the same order of axes."""
    return np.array(array, order="K", copy=True)


def strides_of_long_axes(array: np.ndarray) -> list[int]:
    return [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]


def assert_in_order_of(case: Case, arguments: dict[str, Any], returned: Any, where: str) -> None:
    """Results like x lie in memory as x does, and nowhere near it."""
    x = get(arguments, case.function.leader)
    for one in case.function.results(returned, arguments):
        if one.role in ("result", "new_result"):
            like = np.empty_like(x)
            assert strides_of_long_axes(one.array) == strides_of_long_axes(like), where
            assert one.array.flags.writeable and not np.shares_memory(one.array, x), where


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layout_of_every_argument(case, dtype, unchanged):
    arguments = case.arguments(dtype)
    for argument in case.function.arrays():
        for layout, laid_out in LAYOUTS.items():
            where = f"{argument} as {layout}"
            odd = laid_out(get(arguments, argument))
            unchanged(odd)
            flags = str(odd.flags)
            changed = with_changed(arguments, argument, odd)
            got = case.function.call(**changed)
            packed = with_changed(arguments, argument, same_order(odd))
            assert_same_bits(got, case.function.call(**packed), where)
            assert str(odd.flags) == flags, f"flags of {where} were changed"
            if argument == case.function.leader:
                assert_in_order_of(case, changed, got, where)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_layout_of_half_types(case, dtype):
    """Elements of two bytes; one byte off they are misaligned, and two bytes off they are not."""
    for layout in LAYOUTS if dtype is np.float16 else ("one_byte_off", "one_element_off"):
        odd, packed = case.arguments(dtype), case.arguments(dtype)
        for argument in case.function.arrays():
            array = LAYOUTS[layout](get(odd, argument))
            put(odd, argument, array)
            put(packed, argument, same_order(array))
        got, expected = case.function.call(**odd), case.function.call(**packed)
        assert_same_bits(got, expected, f"all arguments as {layout}")


@pytest.mark.parametrize("x_layout", ["c_order", "channels_last", "step_of_last_axis",
                                      "negative_strides", "one_byte_off"])  # fmt: skip
@pytest.mark.parametrize("case", [c for c in CASES if c.function.arrays("like")], ids=str)
def test_layouts_of_arrays_like_x_are_independent(case, x_layout):
    """Seven layouts of one with seven of the other broke elsewhere (D6, D22)."""
    arguments = case.arguments(np.float32)
    leader = case.function.leader
    put(arguments, leader, LAYOUTS[x_layout](get(arguments, leader)))
    expected = case.function.call(**arguments)
    for argument in case.function.arrays("like"):
        for layout in ("fortran_order", "channels_last", "step_of_first_axis",
                       "negative_last_stride", "row_gap", "field_of_odd_record",
                       "read_only"):  # fmt: skip
            odd = LAYOUTS[layout](get(arguments, argument))
            got = case.function.call(**with_changed(arguments, argument, odd))
            assert_same_bits(got, expected, f"{argument} as {layout}")


WRITABLE = [name for name in LAYOUTS if not name.startswith(("zero", "read_only", "overlapping"))]


@pytest.mark.parametrize("x_layout", ["c_order", "fortran_order", "step_of_last_axis"])
@pytest.mark.parametrize("case", WITH_OUT, ids=str)
def test_every_layout_of_out(case, x_layout, dtype):
    """The result is that of a fresh output, whatever the order in which out lies in memory."""
    arguments = case.arguments(dtype)
    leader = case.function.leader
    put(arguments, leader, LAYOUTS[x_layout](get(arguments, leader)))
    expected = case.function.call(**arguments)
    for layout in WRITABLE:
        out = LAYOUTS[layout](np.full(case.shape, np.nan, dtype))
        outside = _outside(out)
        got = case.function.call(**arguments, out=out)
        assert case.function.results(got, arguments)[0].array is out, layout
        assert_same_bits(got, expected, f"into {layout}")
        assert _outside(out) == outside, f"into {layout}: wrote beside it"


def _outside(out: np.ndarray) -> bytes:
    """Whatever of the memory under a view does not belong to it."""
    root = out
    while isinstance(root.base, np.ndarray):
        root = root.base
    if root is out:
        return b""
    kept = out.copy()
    out[...] = 0
    rest = root.tobytes()
    out[...] = kept
    return rest


def beside(line: np.ndarray, place: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of a buffer: one behind the other, or element by element in turns."""
    half = line.size // 2
    parts = (line[:half], line[half:]) if place == "behind" else (line[::2], line[1::2])
    return parts[0].reshape(shape), parts[1].reshape(shape)


@pytest.mark.parametrize("place", ["behind", "in turns"])
@pytest.mark.parametrize("case", [case for case in cases(OF_TWO_AXES) if case.function.out],
                         ids=str)  # fmt: skip
def test_out_beside_an_input_in_one_buffer(case, place, dtype):
    """Where no element is shared all is well, in whichever direction the two are read."""
    arguments = case.arguments(dtype)
    expected = case.function.call(**arguments)
    for argument in case.function.arrays(*LIKE_X):
        values = get(arguments, argument)
        for axes in ((), (0,), (1,), (0, 1)):
            for order in (0, 1):
                for flips in ((axes, ()), ((), axes), (axes, axes)):
                    both = beside(np.full(2 * values.size, np.nan, dtype), place, case.shape)
                    own, out = np.flip(both[order], flips[0]), np.flip(both[1 - order], flips[1])
                    own[...] = values
                    got = case.function.call(**with_changed(arguments, argument, own), out=out)
                    where = f"{argument} flipped along {flips[0]}, out along {flips[1]}"
                    assert case.function.results(got, arguments)[0].array is out, where
                    assert_same_bits(got, expected, where)
                    assert_same_bits(own.copy(), values, where)


# What is not described ---------------------------------------------------------------------------


def test_strided_dropout_keeps_values_in_place():
    """Each output is 0 or its own input scaled, never a neighbour's (D8)."""
    for layout, make in LAYOUTS.items():
        x = make(normal((5, 7, 11), np.float32, "x"))
        y = nd.dropout(x, 0.5, rng=(3, 4))
        assert_same_bits(y.copy(), reference.dropout(x, 0.5, rng=(3, 4)), layout)


def test_running_statistics_in_every_writable_layout(dtype):
    stats = nd.BatchStats(np.arange(5.0), np.arange(5.0) + 1, np.ones(5), 7)
    expected_mean, expected_var = np.zeros(5, dtype), np.ones(5, dtype)
    nd.update_running_stats(expected_mean, expected_var, stats)
    for layout in WRITABLE:
        mean, var = (LAYOUTS[layout](np.full(5, value, dtype)) for value in (0, 1))
        nd.update_running_stats(mean, var, stats)
        assert_same_bits((mean.copy(), var.copy()), (expected_mean, expected_var), layout)
        odd = nd.BatchStats(*(LAYOUTS[layout](s) for s in stats[:3]), 7)
        mean, var = np.zeros(5, dtype), np.ones(5, dtype)
        nd.update_running_stats(mean, var, odd)
        assert_same_bits((mean, var), (expected_mean, expected_var), layout)
