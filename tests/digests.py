"""Digests of the bits of every operation on the CPU, kept in ``digests.json``.

``python tests/digests.py`` writes the table anew with the installed normdrop; what changed is then
a visible line of a diff, and belongs into the changelog. Backends with a fused multiply-add agree
to the bit and have one digest; the x86-64 baseline has none, and a digest of its own.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import normdrop as nd
from cases import DTYPES, HALF_TYPES, axis_shape, is_device
from good_calls import SIGNED, Case, Geometry, cases, get, put
from normdrop.reference import words_by_index

Array = npt.NDArray[Any]
TABLE = Path(__file__).with_name("digests.json")
DIGITS = 16

ROWS = [(7, 33), (5, 64), (3, 1000), (2, 4096), (2, 4097), (1, 70_001), (131, 257)]
COLUMNS = [((50, 37), 0), ((3, 129, 20), 1), ((2, 70, 1030), 1), ((5, 7, 11), (0, 1))]
CHANNELS = [
    ((50, 37), 1),
    ((3000, 5), 1),
    ((4, 3, 7, 7), 1),
    ((2, 40, 10, 10), 1),
    ((2, 3, 70, 70), 1),
    ((1, 2, 20_011), 1),
    ((6, 5, 5, 19), -1),
]
SHAPES = [(7, 33), (3, 70_001)]

# Of operations without a family of their own: as their descriptions see x.
GEOMETRIES: dict[str, list[Geometry]] = {
    "over_axes": [*((shape, -1) for shape in ROWS), *COLUMNS],
    "per_channel": [((50, 37), 1), ((3000, 5), 1), ((4, 3, 7, 7), 1), ((2, 3, 70, 70), 1),
                    ((6, 5, 5, 19), -1)],
    "channel_groups": [((7, 33), 1, 3), ((4, 6, 7, 7), 1, 2), ((2, 6, 70, 70), 1, 3),
                       ((3, 40, 11), 1, 8), ((6, 5, 5, 18), -1, 3)],
    "elements": [],
}  # fmt: skip
STATISTICS = ("statistic", "statistics")
OF_A_FAMILY = ("layer_norm", "batch_norm", "dropout")


def kind_of(backend: str) -> str:
    """Which of a case's digests a CPU backend has to give."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return "without fma" if backend == "baseline" and x86 else "fma"


def numbers(shape: tuple[int, ...], dtype: npt.DTypeLike, seed: int, offset: float = 0.0) -> Array:
    """Bell-shaped numbers by integer arithmetic alone: the same on every machine and version."""
    count = int(np.prod(shape))
    words = words_by_index(seed=seed, call=0, first=0, count=4 * count).reshape(4, count)
    centred = words.astype(np.int64).sum(axis=0) - (1 << 33)
    return (np.ldexp(centred.astype(np.float64), -31) + offset).astype(dtype).reshape(shape)


def layer_norm(shape: tuple[int, ...], axis: Any, dtype: Any, parameters: Any) -> Iterator[Any]:
    x, grad = numbers(shape, dtype, 1, offset=0.75), numbers(shape, dtype, 2, offset=0.1)
    weight, bias = (numbers(axis_shape(shape, axis), parameters, seed) for seed in (3, 4))
    y, stats = nd.layer_norm_forward(x, weight, bias, axis=axis)
    yield "forward", (y, *stats)
    yield "plain", (nd.layer_norm(x, axis=axis),)
    yield "backward", nd.layer_norm_backward(grad, x, stats, weight, axis=axis)


def batch_norm(shape: tuple[int, ...], axis: Any, dtype: Any, parameters: Any) -> Iterator[Any]:
    x, grad = numbers(shape, dtype, 1, offset=0.75), numbers(shape, dtype, 2, offset=0.1)
    weight, bias = (numbers((shape[axis],), parameters, seed) for seed in (3, 4))
    y, stats = nd.batch_norm_forward(x, weight, bias, channel_axis=axis)
    yield "forward", (y, *stats[:3])
    running = np.zeros(shape[axis]), np.ones(shape[axis], np.float32)
    nd.update_running_stats(*running, stats)
    yield "running", running
    yield "inference", (nd.batch_norm(x, *running, weight, bias, channel_axis=axis),)
    for name, frozen in (("backward", False), ("frozen", True)):
        yield (
            name,
            nd.batch_norm_backward(grad, x, stats, weight, channel_axis=axis, frozen=frozen),
        )


def dropout(shape: tuple[int, ...], axis: Any, dtype: Any, parameters: Any) -> Iterator[Any]:
    x = numbers(shape, dtype, 1)
    y, mask = nd.dropout_forward(x, 0.3, rng=(5, 6))
    yield "forward", (y, mask.keep)
    yield "backward", (nd.dropout_backward(x, mask),)


def noise(shape: tuple[int, ...], axis: Any, dtype: Any, parameters: Any) -> Iterator[Any]:
    x = numbers(shape, dtype, 1)
    for name, strength in (("alpha", 0.3), ("gaussian", 0.3), ("uniform", 0.2)):
        forward = getattr(nd, f"{name}_dropout_forward")
        y, mask = forward(x, strength, rng=(5, 6), shared_axes=axis)
        yield name, (y, getattr(nd, f"{name}_dropout_backward")(x, mask))
    y, mask = nd.dropout_forward(x, 0.3, rng=(5, 6), shared_axes=axis)
    yield "dropout", (y, mask.keep, nd.dropout_backward(x, mask))


def described(case: Case, dtype: Any, parameters: Any) -> tuple[Any, ...]:
    """The results of a call whose arrays are all made of integers."""
    arguments = case.arguments(dtype, parameters)
    for seed, name in enumerate(case.function.arrays(), 1):
        before = get(arguments, name)
        values = numbers(before.shape, before.dtype, seed, offset=0.1)
        if case.function.role_of(name).role in STATISTICS:
            values = values if name.rpartition(".")[2] in SIGNED else values**2 + 0.5
        put(arguments, name, values)
    returned = case.function.call(**arguments)
    return tuple(one.array for one in case.function.results(returned, arguments))


Family = Callable[..., Iterator[Any]]


def families() -> Iterator[tuple[str, Family, tuple[int, ...], Any]]:
    for shape in ROWS:
        yield "layer_norm", layer_norm, shape, -1
    for shape, axis in COLUMNS:
        yield "layer_norm", layer_norm, shape, axis
    for shape, axis in CHANNELS:
        yield "batch_norm", batch_norm, shape, axis
    for shape in SHAPES:
        yield "dropout", dropout, shape, None
        for axes in ((), (0,), (1,)):
            yield "noise", noise, shape, axes
    yield "noise", noise, (3, 5, 7, 41), (0, 2)


def digests() -> Iterator[tuple[str, str]]:
    """Every case with its digest under the active backend."""
    for name, family, shape, axis in families():
        for dtype, parameters in kinds_of_numbers():
            if name in ("dropout", "noise") and parameters is not dtype:
                continue
            where = "x".join(map(str, shape)) + ("" if axis is None else f" axis {axis}")
            for part, arrays in family(shape, axis, dtype, parameters):
                yield f"{name}-{part} {where} {types_of(dtype, parameters)}", digest(arrays)
    for case in cases(GEOMETRIES):
        if case.function.name.removesuffix("_forward").removesuffix("_backward") in OF_A_FAMILY:
            continue
        for dtype, parameters in kinds_of_numbers():
            if parameters is dtype or case.function.arrays("parameter"):
                arrays = described(case, dtype, parameters)
                yield f"{case}, {types_of(dtype, parameters)}", digest(arrays)


def kinds_of_numbers() -> list[tuple[Any, Any]]:
    """The dtypes of x and of the parameters."""
    return [
        (dtype, parameters)
        for dtype in DTYPES
        for parameters in ((dtype, np.float32) if dtype in HALF_TYPES else (dtype,))
    ]


def types_of(dtype: Any, parameters: Any) -> str:
    return np.dtype(dtype).name + ("" if parameters is dtype else "-float32")


def digest(arrays: Any) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:DIGITS]


def table() -> dict[str, dict[str, str]]:
    """The whole table, by the backends of this machine."""
    found: dict[str, dict[str, str]] = {}
    for backend in nd.backends():
        if not is_device(backend):
            with nd.use_backend(backend):
                for case, bits in digests():
                    found.setdefault(case, {})[kind_of(backend)] = bits
    return found


def write() -> None:
    """One line a case, so that a diff names what changed; digests of other machines stay."""
    known = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    lines = [
        f"{json.dumps(case)}: {json.dumps({**known.get(case, {}), **kinds}, sort_keys=True)}"
        for case, kinds in table().items()
    ]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write()
