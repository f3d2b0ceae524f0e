"""Shapes, array layouts and telling rows that several test files share.

Sizes are distinct primes, so that swapping two dimensions never goes unnoticed.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ml_dtypes import bfloat16, finfo

Array = npt.NDArray[Any]

HALF_TYPES = [np.float16, bfloat16]
DTYPES = [np.float32, np.float64, *HALF_TYPES]

# (shape, axis) of layer norms: the last axis, several, channels-first, all, first.
LAYER_NORM_CASES = [
    ((13,), -1),
    ((11, 13), -1),
    ((11, 13), 0),
    ((5, 7, 11), -1),
    ((5, 7, 11), 1),
    ((5, 7, 11), (1, 2)),
    ((5, 7, 11), (-1, -2)),
    ((5, 7, 11), (0, 1)),
    ((5, 7, 11), (0, 1, 2)),
    ((3, 5, 7, 11), 1),
    ((3, 5, 7, 11), (1, 2)),
    ((3, 5, 7, 11), (-3, -2, -1)),
    ((2, 3, 5, 7, 11), 2),
    ((1, 13), -1),
    ((13, 1), -1),
    ((1, 1, 17), (0, 2, 1)),
    ((3, 257), -1),
    ((131, 3), 0),
]

# (shape, channel_axis) of batch norms of rank 2 to 5.
BATCH_NORM_CASES = [
    ((13, 5), 1),
    ((13, 5), 0),
    ((7, 3, 11), 1),
    ((7, 3, 11), -1),
    ((7, 3, 11), 0),
    ((3, 5, 7, 11), 1),
    ((3, 5, 7, 11), -1),
    ((3, 5, 7, 11), -2),
    ((2, 3, 5, 7, 11), 1),
    ((2, 3, 5, 7, 11), 4),
    ((1, 3, 17), 1),
    ((17, 1), 1),
    ((2, 131), 1),
    ((257, 3), 1),
    ((5, 1, 1, 7), 1),
]


def is_device(backend: str) -> bool:
    """Whether a backend's arrays and threads are a device's."""
    return backend.startswith("cuda")


def wide(dtype: npt.DTypeLike) -> Any:
    """What running statistics and parameters may have beside x of a dtype."""
    return np.float32 if dtype in HALF_TYPES else dtype


def generator(*key: object) -> np.random.Generator:
    """Random numbers that depend on the names passed and on nothing else."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def normal(shape: tuple[int, ...], dtype: npt.DTypeLike, *key: object, offset: float = 0) -> Array:
    """Ordinary data."""
    return (generator(shape, *key).normal(size=shape) + offset).astype(dtype)


def parameter(shape: tuple[int, ...], dtype: npt.DTypeLike, *key: object) -> Array:
    """A weight or a bias: of both signs, never 0 or 1 everywhere, with one 0 in it."""
    values = generator("parameter", shape, *key).normal(size=shape) * 1.5
    if values.size > 2:
        values.ravel()[values.size // 2] = 0.0
    return values.astype(dtype)


def axis_shape(shape: tuple[int, ...], axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape of weight and bias of a layer norm."""
    named = axis if isinstance(axis, tuple) else (axis,)
    return tuple(shape[i] for i in sorted(i % len(shape) for i in named))


# Layouts ---------------------------------------------------------------------------------------
# Each takes packed values and returns an array of the same shape and dtype. The broadcast and
# window layouts cannot hold any values; they hold some that come from the ones given.


def _embedded(values: Array, starts: int, steps: int, extra: int) -> Array:
    """A view into a bigger array that holds NaN wherever the view does not look."""
    shape = tuple(starts + steps * size + extra for size in values.shape)
    big = np.full(shape, np.nan, values.dtype)
    view = big[tuple(slice(starts, starts + steps * size, steps) for size in values.shape)]
    view[...] = values
    return view


def at_byte_offset(values: Array, offset: int) -> Array:
    """A packed copy whose first byte lies ``offset`` bytes behind a 64-byte boundary."""
    buffer = np.empty(values.nbytes + 128, np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    array = buffer[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    array[...] = values
    return array


def _reversed_axes(values: Array, axes: Iterator[int]) -> Array:
    flip = tuple(axes)
    return np.flip(np.ascontiguousarray(np.flip(values, flip)), flip)


def _step(values: Array, axis: int) -> Array:
    shape = list(values.shape)
    shape[axis] *= 2
    big = np.full(shape, np.nan, values.dtype)
    index: list[Any] = [slice(None)] * values.ndim
    index[axis] = slice(None, None, 2)
    view = big[tuple(index)]
    view[...] = values
    return view


def _row_gap(values: Array) -> Array:
    big = np.full((*values.shape[:-1], values.shape[-1] + 3), np.nan, values.dtype)
    view = big[..., : values.shape[-1]]
    view[...] = values
    return view


def _rows_between_elements(values: Array) -> Array:
    """Aligned where it begins, but not from the next row on: rows lie half an element off."""
    row = np.empty(values.shape[1:], values.dtype)
    step = row.nbytes + values.itemsize // 2
    buffer = at_byte_offset(np.full(len(values) * step, 0xFF, np.uint8), 0)
    view = np.ndarray(values.shape, values.dtype, buffer, 0, (step, *row.strides))
    view[...] = values
    return view


def _read_only(values: Array) -> Array:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def _record_field(values: Array, packing: str) -> Array:
    """A field of records: of 4 + 1 bytes (never aligned) or of two numbers (aligned, apart)."""
    first = np.uint8 if packing == "odd" else values.dtype
    records = np.zeros(values.shape, [("first", first), ("value", values.dtype)])
    records["value"] = values
    return records["value"]


def _channels_last(values: Array) -> Array:
    if values.ndim < 2:
        return values.copy()
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, -1)), -1, 1)


def _swapped(values: Array) -> Array:
    return np.ascontiguousarray(values.swapaxes(0, -1)).swapaxes(0, -1)


def _windows(values: Array) -> Array:
    """Overlapping windows over one line of numbers: neighbouring rows share memory."""
    line = np.resize(values.ravel(), sum(values.shape))
    strides = (line.itemsize,) * values.ndim
    return np.lib.stride_tricks.as_strided(line, values.shape, strides, writeable=False)


def _odd_strides_of_ones(values: Array) -> Array:
    """Dimensions of size 1 may carry any stride at all."""
    strides = tuple(
        1048583 if size == 1 else stride
        for size, stride in zip(values.shape, values.strides, strict=True)
    )
    return np.lib.stride_tricks.as_strided(values.copy(), values.shape, strides)


def _from_bytes(values: Array) -> Array:
    data = b"x" + values.tobytes()
    return np.frombuffer(data, values.dtype, values.size, 1).reshape(values.shape)


def memory_map(values: Array) -> np.memmap:
    """A writeable map of a file that holds the values and is gone with the map."""
    if values.size == 0:
        return values.view(np.memmap)  # there are no maps of empty files
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, values.dtype, mode="w+", shape=values.shape)
    array[...] = values
    return array


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "c_order": lambda v: np.array(v, order="C"),
    "fortran_order": lambda v: np.array(v, order="F"),
    "step_of_last_axis": lambda v: _step(v, -1),
    "step_of_first_axis": lambda v: _step(v, 0),
    "interior_slice": lambda v: _embedded(v, 1, 1, 1),
    "step_of_every_axis": lambda v: _embedded(v, 1, 3, 2),
    "row_gap": _row_gap,
    "rows_between_elements": _rows_between_elements,
    "negative_last_stride": lambda v: _reversed_axes(v, iter([v.ndim - 1])),
    "negative_first_stride": lambda v: _reversed_axes(v, iter([0])),
    "negative_strides": lambda v: _reversed_axes(v, iter(range(v.ndim))),
    "negative_step": lambda v: _step(v[..., ::-1], -1)[..., ::-1],
    "zero_first_stride": lambda v: np.broadcast_to(v[:1].copy(), v.shape),
    "zero_last_stride": lambda v: np.broadcast_to(v[..., :1].copy(), v.shape),
    "zero_strides": lambda v: np.broadcast_to(v.ravel()[0].copy(), v.shape),
    "read_only": _read_only,
    "read_only_bytes_misaligned": _from_bytes,
    "one_byte_off": lambda v: at_byte_offset(v, 1),
    "one_element_off": lambda v: at_byte_offset(v, v.itemsize),
    "field_of_odd_record": lambda v: _record_field(v, "odd"),
    "field_of_record": lambda v: _record_field(v, "even"),
    "channels_last": _channels_last,
    "swapped_axes": _swapped,
    "overlapping_windows": _windows,
    "odd_strides_of_ones": _odd_strides_of_ones,
    "memory_map": memory_map,
    "memory_map_of_every_other": lambda v: memory_map(np.repeat(v, 2, axis=-1))[..., ::2],
}


# Rows that broke other implementations -----------------------------------------------------------


class Row(NamedTuple):
    """One row to normalise, and the eps to do it with."""

    name: str
    values: Array
    eps: float = 1e-5


def adversarial_rows(dtype: npt.DTypeLike, length: int = 769) -> list[Row]:
    """Rows on which one-pass variances, rounded means and careless ranges fail."""
    noise = generator("adversarial", length).normal(size=length)
    rows = [Row(f"mean_over_std_2^{power}", noise + 2.0**power) for power in range(0, 21, 2)] + [
        Row(f"negative_offset_2^{power}", noise - 2.0**power) for power in (10, 20)
    ]
    rows += [
        Row("first_element_1e30", _with(noise, 0, 1e30)),
        Row("last_element_1e30", _with(noise, -1, 1e30)),
        Row("both_ends_opposite_1e6", _with(_with(noise, 0, 1e6), -1, -1e6)),
        Row("outliers_at_both_ends_cancel", _both_ends(noise, 3, 1e6)),
        Row("near_1e37", noise * 1e37),
        Row("all_near_3e38", 3e38 + noise * 1e36),
        Row("tiny_1e-30", noise * 1e-30),
        Row("tiny_1e-30_eps_0", noise * 1e-30, 0.0),
        Row("large_eps", noise, 1e6),
        Row("ramp_on_40000", 40000.0 + np.arange(length)),
        Row("mixed_signs_cancel", np.where(np.arange(length) % 2, noise, -noise) * 1e8),
        Row("alternating", np.where(np.arange(length) % 2, 1e4 + 1, 1e4)),
        Row("two_neighbours", _two_neighbours(dtype, length)),
        Row("one_differs_by_one_ulp", _with(np.full(length, 1234.0), 3, _next(1234.0, dtype))),
        Row("decades", 10.0 ** np.linspace(-30, 30, length) * np.sign(noise)),
    ]
    return _within_range(rows, dtype) + list(_subnormal_rows(dtype, noise))


def _within_range(rows: list[Row], dtype: npt.DTypeLike) -> list[Row]:
    """The rows that a dtype can hold, in it."""
    with np.errstate(over="ignore"):
        cast = [row._replace(values=np.asarray(row.values).astype(dtype)) for row in rows]
    return [row for row in cast if np.isfinite(row.values).all()]


def rows_at_the_ends(dtype: npt.DTypeLike, length: int = 769) -> list[Row]:
    """Half types: whose squares, sums and differences leave the range of the type itself."""
    largest = float(finfo(dtype).max)
    noise = generator("ends", length).normal(size=length)
    signs = np.where(noise > 0.3, largest, -largest)
    rows = [
        Row("largest_of_both_signs", signs),
        Row("largest_but_one", _with(np.full(length, largest), 7, -largest)),
        Row("just_below_the_largest", largest * (1 - 0.1 * np.abs(np.tanh(noise)))),
        Row("largest_and_smallest", _with(noise * float(finfo(dtype).tiny), 5, largest)),
        Row("hundreds", noise * 300),
    ]
    return _within_range(rows, dtype)


def _subnormal_rows(dtype: npt.DTypeLike, noise: Array) -> Iterator[Row]:
    """float64 goes where neither a square nor an inverse deviation can be represented."""
    tiny = float(finfo(dtype).tiny)
    for eps in (0.0, 1e-5):
        yield Row(f"subnormal_eps_{eps}", (noise * tiny / 16).astype(dtype), eps)
        yield Row(f"around_smallest_normal_eps_{eps}", (noise * tiny).astype(dtype), eps)
    if np.dtype(dtype) == np.float64:
        yield Row("squares_underflow_1e-200", noise * 1e-200, 0.0)
        yield Row("squares_overflow_1e200", noise * 1e200)
        yield Row("sum_overflows_1e308", 1e308 * (1.0 + 0.1 * np.tanh(noise)))


def tiny_rows(dtype: npt.DTypeLike) -> list[Row]:
    """Short rows with published failures."""
    next_up = _next(3.0, dtype)
    rows = [
        Row("length_1", [3.5]),
        Row("length_1_huge", [3e38]),
        Row("two_adjacent_floats", [3.0, next_up]),
        Row("two_adjacent_floats_eps_0", [3.0, next_up], 0.0),
        Row("ramp_of_four_on_40000", [40000.0, 40001.0, 40002.0, 40003.0]),
        Row("ramp_of_five_on_1e15", 1e15 + np.arange(5.0)),
        Row("opposite", [-1e20, 1e20]),
        Row("opposite_largest", [-float(finfo(dtype).max), float(finfo(dtype).max)]),
        Row("floor_pinned", [-15.94, -15.94, -15.94, -15.94, -15.93, -15.94]),
        Row(
            "smallest_subnormals",
            np.array([0, 1, 2]) * float(finfo(dtype).smallest_subnormal),
            0.0,
        ),
    ]
    return _within_range(rows, dtype)


CONSTANTS = [
    0.0, -0.0, 0.1, 1.0, -1.0, 100.0, 1234.0, 1e7 + 1, -16777217.0, 1 / 3, 1e-30, 1e30, 3.3e38,
    2.0**20 * (1 + 2.0**-23), 1e-40,
]  # fmt: skip


def constants(dtype: npt.DTypeLike) -> Array:
    """``CONSTANTS`` in a dtype; what is beyond its range becomes its largest number."""
    largest = float(finfo(dtype).max)
    return np.clip(CONSTANTS, -largest, largest).astype(dtype)


def _both_ends(values: Array, count: int, outlier: float) -> Array:
    copy = np.array(values, np.float64)
    copy[:count] = outlier
    copy[-count:] = -outlier
    return copy


def _with(values: Array, position: int, value: float) -> Array:
    copy = np.array(values, np.float64)
    copy[position] = value
    return copy


def _next(value: float, dtype: npt.DTypeLike) -> float:
    number = np.asarray(value, dtype)
    return float(np.nextafter(number, np.asarray(np.inf, dtype)))


def _two_neighbours(dtype: npt.DTypeLike, length: int) -> Array:
    return np.where(np.arange(length) % 3, 1449.0, _next(1449.0, dtype))
