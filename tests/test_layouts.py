"""Every layout of every array argument gives the bits of the packed call.

Strides that are mistaken for rows, vectors that assume alignment and reshapes that copy have
broken half of the layouts elsewhere (D1 to D7, K5, K6, K8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import normdrop as nd
from cases import HALF_TYPES, LAYOUTS, axis_shape, normal, parameter
from comparing import assert_same_bits
from normdrop import reference

pytestmark = pytest.mark.usefixtures("backend")


class Operation(NamedTuple):
    """A call that takes its arrays by name, and the argument whose memory order it follows."""

    call: Callable[..., Any]
    arrays: Callable[[Any], dict[str, Any]]
    leading: str


def layer_norm_arrays(shape, axis):
    def make(dtype):
        sizes = axis_shape(shape, axis)
        kept = [size for i, size in enumerate(shape) if i not in named(axis, len(shape))]
        return {
            "x": normal(shape, dtype, "x", offset=1.0),
            "weight": parameter(sizes, dtype, "weight"),
            "bias": parameter(sizes, dtype, "bias"),
            "grad_output": normal(shape, dtype, "grad"),
            "mean": normal(tuple(kept), np.float64, "mean"),
            "inv_std": normal(tuple(kept), np.float64, "inv_std") ** 2 + 0.5,
        }

    return make


def named(axis, rank):
    return {i % rank for i in (axis if isinstance(axis, tuple) else (axis,))}


def batch_norm_arrays(shape, axis):
    def make(dtype):
        channels = (shape[axis],)
        return {
            "x": normal(shape, dtype, "x", offset=1.0),
            "weight": parameter(channels, dtype, "weight"),
            "bias": parameter(channels, dtype, "bias"),
            "grad_output": normal(shape, dtype, "grad"),
            "mean": normal(channels, np.float64, "mean"),
            "var": normal(channels, np.float64, "var") ** 2 + 0.5,
            "inv_std": normal(channels, np.float64, "inv_std") ** 2 + 0.5,
        }

    return make


def pick(make, *names):
    return lambda dtype: {name: make(dtype)[name] for name in names}


def operations() -> dict[str, Operation]:
    table = {}
    for shape, axis in [((7, 33), -1), ((5, 7, 11), 1), ((5, 7, 11), (0, 1)), ((3, 1, 7, 5), 2)]:
        make = layer_norm_arrays(shape, axis)

        def forward(x, weight, bias, axis=axis):
            return nd.layer_norm_forward(x, weight, bias, axis=axis)

        def backward(grad_output, x, mean, inv_std, weight, axis=axis):
            stats = nd.NormStats(mean, inv_std)
            return nd.layer_norm_backward(grad_output, x, stats, weight, axis=axis)

        label = f"{shape} axis {axis}"
        table[f"layer_norm_forward {label}"] = Operation(
            forward, pick(make, "x", "weight", "bias"), "x"
        )
        table[f"layer_norm_backward {label}"] = Operation(
            backward, pick(make, "grad_output", "x", "mean", "inv_std", "weight"), "x"
        )
    for shape, axis in [((7, 33), 1), ((3, 5, 7, 11), 1), ((5, 7, 11), -1), ((5, 7, 11), 0)]:
        table |= batch_norm_operations(shape, axis)
    make = layer_norm_arrays((5, 7, 11), -1)
    table["dropout_forward"] = Operation(
        lambda x: nd.dropout_forward(x, 0.5, rng=(3, 4))[0], pick(make, "x"), "x"
    )
    for name in ("alpha_dropout", "gaussian_dropout", "uniform_dropout"):
        forward_of, backward_of = (getattr(nd, f"{name}_{end}") for end in ("forward", "backward"))
        mask = forward_of(np.ones((5, 7, 11)), 0.5, rng=(3, 4), shared_axes=1)[1]
        table[f"{name}_forward"] = Operation(
            lambda x, call=forward_of: call(x, 0.5, rng=(3, 4), shared_axes=1)[0],
            pick(make, "x"),
            "x",
        )
        table[f"{name}_backward"] = Operation(
            lambda grad_output, call=backward_of, mask=mask: call(grad_output, mask),
            pick(make, "grad_output"),
            "grad_output",
        )
    table["dropout_backward"] = Operation(
        lambda grad_output: nd.dropout_backward(grad_output, nd.DropoutMask(3, 4, 0.5, (5, 7, 11))),
        pick(make, "grad_output"),
        "grad_output",
    )
    return table


def batch_norm_operations(shape, axis) -> dict[str, Operation]:
    make = batch_norm_arrays(shape, axis)

    def forward(x, weight, bias):
        return nd.batch_norm_forward(x, weight, bias, channel_axis=axis)

    def inference(x, mean, var, weight, bias):
        return nd.batch_norm(x, mean, var, weight, bias, channel_axis=axis)

    def backward(grad_output, x, mean, var, inv_std, weight):
        stats = nd.BatchStats(mean, var, inv_std, x.size // x.shape[axis])
        return nd.batch_norm_backward(grad_output, x, stats, weight, channel_axis=axis)

    def frozen(grad_output, x, mean, var, inv_std, weight):
        stats = nd.BatchStats(mean, var, inv_std, 0)
        return nd.batch_norm_backward(grad_output, x, stats, weight, channel_axis=axis, frozen=True)

    backward_names = ("grad_output", "x", "mean", "var", "inv_std", "weight")
    label = f"{shape} axis {axis}"
    return {
        f"batch_norm_forward {label}": Operation(forward, pick(make, "x", "weight", "bias"), "x"),
        f"batch_norm {label}": Operation(
            inference, pick(make, "x", "mean", "var", "weight", "bias"), "x"
        ),
        f"batch_norm_backward {label}": Operation(backward, pick(make, *backward_names), "x"),
        f"batch_norm_backward frozen {label}": Operation(frozen, pick(make, *backward_names), "x"),
    }


OPERATIONS = operations()


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Layouts are told apart by strides; a test of its own has elements of two bytes."""
    return request.param


def first_array(result: Any) -> np.ndarray:
    return result[0] if isinstance(result, tuple) else result


def strides_of_long_axes(array: np.ndarray) -> list[int]:
    return [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_layout_of_every_argument(name, layout, dtype, unchanged):
    operation = OPERATIONS[name]
    packed = operation.arrays(dtype)
    for argument, values in packed.items():
        odd = LAYOUTS[layout](values)
        unchanged(odd)
        flags = str(odd.flags)
        got = operation.call(**{**packed, argument: odd})
        same_order = np.array(odd, order="K", copy=True)
        expected = operation.call(**{**packed, argument: same_order})
        assert_same_bits(got, expected, f"{argument} as {layout}")
        assert str(odd.flags) == flags, f"flags of {argument} as {layout} were changed"
        if argument == operation.leading:
            y, like = first_array(got), np.empty_like(odd)
            assert strides_of_long_axes(y) == strides_of_long_axes(like), f"{argument} as {layout}"
            assert y.flags.writeable and not np.shares_memory(y, odd)


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_layout_of_half_types(name, dtype):
    """Elements of two bytes; one byte off they are misaligned, and two bytes off they are not."""
    operation = OPERATIONS[name]
    packed = operation.arrays(dtype)
    for layout in LAYOUTS if dtype is np.float16 else ("one_byte_off", "one_element_off"):
        odd = {argument: LAYOUTS[layout](values) for argument, values in packed.items()}
        same_order = {name: np.array(a, order="K", copy=True) for name, a in odd.items()}
        got, expected = operation.call(**odd), operation.call(**same_order)
        assert_same_bits(got, expected, f"all arguments as {layout}")


@pytest.mark.parametrize("x_layout", ["c_order", "channels_last", "step_of_last_axis",
                                      "negative_strides", "one_byte_off"])  # fmt: skip
@pytest.mark.parametrize("name", [n for n in OPERATIONS if "backward" in n and "dropout" not in n])
def test_layouts_of_x_and_grad_output_are_independent(name, x_layout):
    """Seven layouts of one with seven of the other broke elsewhere (D6, D22)."""
    operation = OPERATIONS[name]
    arrays = operation.arrays(np.float32)
    arrays["x"] = LAYOUTS[x_layout](arrays["x"])
    expected = operation.call(**arrays)
    for layout in ("fortran_order", "channels_last", "step_of_first_axis", "negative_last_stride",
                   "row_gap", "field_of_odd_record", "read_only"):  # fmt: skip
        grad = LAYOUTS[layout](arrays["grad_output"])
        got = operation.call(**{**arrays, "grad_output": grad})
        assert_same_bits(got, expected, f"grad_output as {layout}")


WRITABLE = [name for name in LAYOUTS if not name.startswith(("zero", "read_only", "overlapping"))]


@pytest.mark.parametrize("layout", WRITABLE)
@pytest.mark.parametrize("x_layout", ["c_order", "fortran_order", "step_of_last_axis"])
def test_every_layout_of_out(layout, x_layout, dtype):
    """The result is that of a fresh output, whatever the order in which out lies in memory."""
    shape = (5, 7, 11)
    make = layer_norm_arrays(shape, 1)(dtype)
    x, grad, weight, bias = make["x"], make["grad_output"], make["weight"], make["bias"]
    x = LAYOUTS[x_layout](x)
    stats = nd.NormStats(make["mean"], make["inv_std"])
    channel_stats = nd.BatchStats(np.ones(7), np.ones(7), np.ones(7), 55)
    mask = nd.DropoutMask(3, 4, 0.5, shape)
    calls = {
        "layer_norm": lambda **o: nd.layer_norm(x, weight, bias, axis=1, **o),
        "layer_norm_forward": lambda **o: nd.layer_norm_forward(x, weight, bias, axis=1, **o),
        "layer_norm_backward": lambda **o: nd.layer_norm_backward(
            grad, x, stats, weight, axis=1, **o
        ),
        "batch_norm": lambda **o: nd.batch_norm(x, np.ones(7), np.ones(7), weight, **o),
        "batch_norm_forward": lambda **o: nd.batch_norm_forward(x, weight, bias, **o),
        "batch_norm_backward": lambda **o: nd.batch_norm_backward(
            grad, x, channel_stats, weight, **o
        ),
        "dropout": lambda **o: nd.dropout(x, 0.5, rng=(3, 4), **o),
        "dropout_forward": lambda **o: nd.dropout_forward(x, 0.5, rng=(3, 4), **o)[0],
        "dropout_backward": lambda **o: nd.dropout_backward(grad, mask, **o),
    }
    for name, call in calls.items():
        out = LAYOUTS[layout](np.full(shape, np.nan, dtype))
        outside = _outside(out)
        got = call(out=out)
        assert first_array(got) is out, name
        assert_same_bits(got, call(), f"{name} into {layout}")
        assert _outside(out) == outside, f"{name} into {layout} wrote beside it"


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


def beside(line: np.ndarray, place: str) -> tuple[np.ndarray, np.ndarray]:
    """The two halves of a buffer: one behind the other, or element by element in turns."""
    half = line.size // 2
    parts = (line[:half], line[half:]) if place == "behind" else (line[::2], line[1::2])
    return parts[0].reshape(7, 33), parts[1].reshape(7, 33)


@pytest.mark.parametrize("place", ["behind", "in turns"])
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1)])
def test_out_beside_x_in_one_buffer(axes, place, dtype):
    """Where no element is shared all is well, in whichever direction the two are read."""
    values = normal((7, 33), dtype, "x")
    expected = nd.layer_norm(values)
    for order in (0, 1):
        for flips in ((axes, ()), ((), axes), (axes, axes)):
            halves = beside(np.full(2 * values.size, np.nan, dtype), place)
            x, out = (
                np.flip(halves[i], flip) for i, flip in zip((order, 1 - order), flips, strict=True)
            )
            x[...] = values
            assert nd.layer_norm(x, out=out) is out
            assert_same_bits(out.copy(), expected)
            assert_same_bits(x.copy(), values)
