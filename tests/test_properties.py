"""Random shapes, axes, strides and parameters against the reference, from fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("hypothesis")
import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

import cases
import normdrop as nd
from cases import LAYOUTS, axis_shape, normal, parameter
from comparing import assert_same_bits, check_batch_norm, check_layer_norm
from normdrop import reference

pytestmark = pytest.mark.usefixtures("backend")
# The backend is the same for all examples of a test.
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

SIZES = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 67])
DTYPES = st.sampled_from(cases.DTYPES)
SCALABLE = st.sampled_from([d for d in cases.DTYPES if d is not np.float16])  # within range
EPS = st.sampled_from([1e-12, 1e-5, 0.1, 1.0])
LAYOUT = st.sampled_from([n for n in LAYOUTS if not n.startswith(("zero", "overlapping"))])


@st.composite
def shapes(draw, least: int) -> tuple[int, ...]:
    shape = draw(st.lists(SIZES, min_size=least, max_size=5))
    while np.prod(shape) > 20_000:
        shape[int(np.argmax(shape))] = 2
    return tuple(shape)


@st.composite
def layer_norm_calls(draw):
    shape = draw(shapes(1))
    first = draw(st.integers(0, len(shape) - 1))
    count = draw(st.integers(1, len(shape) - first))
    axes = list(range(first, first + count))
    named = [axis - len(shape) * draw(st.booleans()) for axis in draw(st.permutations(axes))]
    axis = named[0] if count == 1 and draw(st.booleans()) else tuple(named)
    return shape, axis


@relaxed
@given(
    call=layer_norm_calls(),
    dtype=DTYPES,
    eps=EPS,
    layouts=st.tuples(LAYOUT, LAYOUT),
    has=st.tuples(st.booleans(), st.booleans()),
    offset=st.sampled_from([0.0, 1.0, 7.0]),
)
def test_layer_norm(call, dtype, eps, layouts, has, offset):  # fmt: skip
    shape, axis = call
    sizes = axis_shape(shape, axis)
    check_layer_norm(
        LAYOUTS[layouts[0]](normal(shape, dtype, "x", offset=offset)),
        parameter(sizes, dtype, "weight") if has[0] else None,
        parameter(sizes, dtype, "bias") if has[1] else None,
        LAYOUTS[layouts[1]](normal(shape, dtype, "grad")),
        axis=axis,
        eps=eps,
    )


@relaxed
@given(
    shape=shapes(2),
    place=st.integers(0, 9),
    dtype=DTYPES,
    eps=EPS,
    frozen=st.booleans(),
    layouts=st.tuples(LAYOUT, LAYOUT),
    has=st.tuples(st.booleans(), st.booleans()),
)
def test_batch_norm(shape, place, dtype, eps, frozen, layouts, has):  # fmt: skip
    axis = place % len(shape) - len(shape) * (place % 2)
    if np.prod(shape) // shape[axis] < 2:
        shape = (*shape[: axis % len(shape)], shape[axis], *shape[axis % len(shape) + 1 :], 3)
        axis = axis % (len(shape) - 1)
    channels = (shape[axis],)
    check_batch_norm(
        LAYOUTS[layouts[0]](normal(shape, dtype, "x", offset=0.5)),
        parameter(channels, dtype, "weight") if has[0] else None,
        parameter(channels, dtype, "bias") if has[1] else None,
        LAYOUTS[layouts[1]](normal(shape, dtype, "grad")),
        channel_axis=axis,
        eps=eps,
        frozen=frozen,
    )


@relaxed
@given(
    shape=shapes(0),
    dtype=DTYPES,
    p=st.floats(0, 1),
    layout=LAYOUT,
    seed=st.integers(0, 2**64 - 1),
    call=st.integers(0, 2**64 - 1),
)
def test_dropout(shape, dtype, p, layout, seed, call):  # fmt: skip
    x = np.asarray(normal(shape, dtype, "x"))
    if shape:
        x = LAYOUTS[layout](x)
    y, mask = nd.dropout_forward(x, p, rng=(seed, call))
    expected, _ = reference.dropout_forward(x, p, rng=(seed, call))
    assert_same_bits(y.copy(), expected.copy())
    assert_same_bits(nd.dropout_backward(x, mask), y)


@relaxed
@given(count=st.integers(1, 300), dtype=DTYPES, threads=st.integers(1, 5))
def test_rows_are_independent_of_their_number(count, dtype, threads):
    before = nd.get_num_threads()
    nd.set_num_threads(threads)
    try:
        x = normal((301, 131), dtype, "x")
        assert_same_bits(nd.layer_norm(x[:count]), nd.layer_norm(x)[:count])
        assert_same_bits(nd.layer_norm(x[-count:]), nd.layer_norm(x)[-count:])
    finally:
        nd.set_num_threads(before)


@relaxed
@given(dtype=SCALABLE, power=st.integers(-20, 20), length=st.integers(2, 200))
def test_scaling_by_a_power_of_two_changes_nothing_without_eps(dtype, power, length):
    """x and 2**k * x have the same exact answer and the same roundings."""
    x = normal((3, length), dtype, "x")
    expected = nd.layer_norm(x, eps=0.0)
    assert_same_bits(nd.layer_norm(x * dtype(2.0**power), eps=0.0), expected)
    assert_same_bits(nd.layer_norm(-x, eps=0.0), -expected)
