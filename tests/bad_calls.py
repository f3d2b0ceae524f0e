"""The table of wrong calls behind test_bad_input: every argument of every public function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

import normdrop as nd
from cases import normal, parameter

SHAPE = (5, 7, 11)
HAS_DEVICE = any(name.startswith("cuda") for name in nd.backends())


class Bad(NamedTuple):
    """One wrong value of one argument; ``words`` must stand in the message."""

    function: str
    argument: str
    label: str
    value: Callable[[dict[str, Any]], Any]
    error: type[Exception]
    words: tuple[str, ...]


class Subclass(np.ndarray):
    """Any subclass may redefine what its elements mean."""


class FakeDeviceArray:
    """What a CUDA array looks like from outside."""

    __cuda_array_interface__: ClassVar = {
        "shape": SHAPE,
        "typestr": "<f4",
        "data": (0, False),
        "version": 3,
    }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


# Good arguments ----------------------------------------------------------------------------------


def good_arguments(function: str) -> dict[str, Any]:
    """Arguments with which the function works; fresh arrays each time."""
    f4, axis_size = np.float32, 11 if function.startswith("layer") else 7
    x, grad = normal(SHAPE, f4, "x"), normal(SHAPE, f4, "grad")
    weight, bias = (parameter((axis_size,), f4, name) for name in ("weight", "bias"))
    out = np.full(SHAPE, 123.0, f4)
    rows = nd.NormStats(np.zeros((5, 7)), np.ones((5, 7)))
    channels = nd.BatchStats(np.zeros(7), np.ones(7), np.ones(7), 55)
    affine = {"weight": weight, "bias": bias}
    layer, batch = {"axis": -1, "out": out}, {"channel_axis": 1, "out": out}
    running = {"running_mean": np.zeros(7, f4), "running_var": np.ones(7, f4)}
    return {
        "layer_norm": {"x": x, **affine, **layer, "eps": 1e-5},
        "layer_norm_forward": {"x": x, **affine, **layer, "eps": 1e-5},
        "layer_norm_backward": {
            "grad_output": grad, "x": x, "stats": rows, "weight": weight, **layer, "bias": True,
        },
        "batch_norm": {"x": x, **running, **affine, **batch, "eps": 1e-5},
        "batch_norm_forward": {"x": x, **affine, **batch, "eps": 1e-5},
        "batch_norm_backward": {
            "grad_output": grad, "x": x, "stats": channels, "weight": weight, **batch,
            "frozen": False, "bias": True,
        },
        "update_running_stats": {**running, "stats": channels, "momentum": 0.1, "correction": 1},
        **dropout_arguments(x, grad, out),
        "BatchStats.from_running": {**running, "eps": 1e-5},
        "use_backend": {"name": "baseline"},
        "num_threads": {"n": 1},
        "set_num_threads": {"n": 1},
        "set_pool_limit": {"bytes": 0},
        "show_config": {"mode": "dict"},
    }[function]  # fmt: skip


def dropout_arguments(x: np.ndarray, grad: np.ndarray, out: np.ndarray) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, (mask, strength) in DROPOUTS.items():
        forward = {"x": x, strength: 0.5, "rng": 3, "shared_axes": (0,), "out": out}
        table |= {name: forward, f"{name}_forward": forward, f"{name}_backward": {
            "grad_output": grad, "mask": getattr(nd, mask)(3, 0, 0.5, SHAPE), "out": out,
        }}  # fmt: skip
        table[mask] = {"seed": 3, "call": 0, strength: 0.5, "shape": SHAPE, "shared_axes": (0,)}
    return table


# Functions of dropout's family: the class of their masks and the name of their strength.
DROPOUTS = {
    "dropout": ("DropoutMask", "p"),
    "alpha_dropout": ("AlphaDropoutMask", "p"),
    "gaussian_dropout": ("GaussianDropoutMask", "p"),
    "uniform_dropout": ("UniformDropoutMask", "beta"),
}

FUNCTIONS = [
    "layer_norm", "layer_norm_forward", "layer_norm_backward", "batch_norm", "batch_norm_forward",
    "batch_norm_backward", "update_running_stats", "BatchStats.from_running", "use_backend",
    "num_threads", "set_num_threads", "set_pool_limit", "show_config",
    *(name + end for name in DROPOUTS for end in ("", "_forward", "_backward")),
    *(mask for mask, _ in DROPOUTS.values()),
]  # fmt: skip


def find(function: str) -> Callable[..., Any]:
    found: Any = nd
    for part in function.split("."):
        found = getattr(found, part)
    return found


# Wrong arguments ---------------------------------------------------------------------------------


def constant(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda arguments: value


def wrong_types(function: str, argument: str) -> Iterator[Bad]:
    """What is not a plain array: lists, masked arrays, subclasses, scalars, device arrays."""

    def bad(label: str, make: Callable[[np.ndarray], Any], *words: str) -> Bad:
        return Bad(
            function, argument, label, lambda a: make(array_of(a, argument)), TypeError,
            ("numpy.ndarray", *words),
        )  # fmt: skip

    yield bad("a list", lambda v: v.tolist(), "got list")
    yield bad("a masked array", np.ma.masked_array, "MaskedArray")
    yield bad("a subclass", lambda v: v.view(Subclass), "Subclass")
    yield bad("a number", lambda v: 3.0, "got float")
    yield bad("a memoryview", lambda v: memoryview(v), "got memoryview")
    if argument not in ("weight", "bias", "out"):
        yield bad("None", lambda v: None, "got NoneType")
    if argument not in ("running_mean", "running_var") or function != "BatchStats.from_running":
        yield device_array(function, argument)


def device_array(function: str, argument: str) -> Bad:
    """Refused by a build without devices; else beside NumPy arrays, and for its address 0."""
    leaders = {
        **{f"{name}_backward": "grad_output" for name in DROPOUTS},
        "update_running_stats": "stats.mean",
    }
    leads = argument == leaders.get(function, "x")
    error: type[Exception] = RuntimeError
    words: tuple[str, ...] = ("CPU", "pip install .*-C cmake.define.NORMDROP_CUDA=ON")
    if HAS_DEVICE:
        error = ValueError if leads else TypeError
        words = ("address 0x0",) if leads else ("numpy.ndarray like the other arrays",)
    return Bad(function, argument, "a device array", constant(FakeDeviceArray()), error, words)


def wrong_dtypes(function: str, argument: str) -> Iterator[Bad]:
    """Other types, other precisions than that of x, and data in another byte order (K7)."""
    names = ["int64", "complex64", "object", "bool"]
    free = argument in ("running_mean", "running_var")
    leads = argument == ("grad_output" if function.endswith("dropout_backward") else "x")
    if not leads:
        names.append("float16")
    if not free and not leads:
        names.append("float64" if not argument.startswith("stats.") else "float32")
    kinds: list[tuple[str, Any]] = [(name, np.dtype(name)) for name in names]
    kinds += [(">f4", np.dtype(">f4")), ("float8_e4m3", np.dtype(ml_dtypes.float8_e4m3))]
    kinds += [(">f2", np.dtype(">f2"))] if leads else [("bfloat16", np.dtype(ml_dtypes.bfloat16))]
    if np.dtype(np.longdouble) != np.float64:
        kinds.append((np.dtype(np.longdouble).name, np.dtype(np.longdouble)))
    for name, kind in kinds:
        yield Bad(
            function, argument, f"{name} data", lambda a, k=kind: array_of(a, argument).astype(k),
            TypeError, ("float", f"got {name}"),
        )  # fmt: skip


def wrong_shapes(function: str, argument: str) -> Iterator[Bad]:
    def bad(label: str, make: Callable[[np.ndarray], Any]) -> Bad:
        return Bad(function, argument, label, lambda a: make(array_of(a, argument)), ValueError,
                   ("shape", "got"))  # fmt: skip

    yield bad("one axis too many", lambda v: v[None].copy())
    yield bad("one element too few", lambda v: v[..., :-1].copy())
    yield bad("one element too many", lambda v: np.concatenate([v, v[..., :1]], axis=-1))
    yield bad("no elements", lambda v: v[..., :0].copy())


def array_of(arguments: dict[str, Any], argument: str) -> np.ndarray:
    """The good array of an argument, which may be a field as in ``stats.mean``."""
    head, _, field = argument.partition(".")
    value = arguments[head]
    return getattr(value, field) if field else value


def put(arguments: dict[str, Any], argument: str, array: np.ndarray) -> None:
    """Replace the good array of an argument."""
    head, _, field = argument.partition(".")
    arguments[head] = arguments[head]._replace(**{field: array}) if field else array


ARRAYS = {
    "layer_norm": ["x", "weight", "bias", "out"],
    "layer_norm_forward": ["x", "weight", "bias", "out"],
    "layer_norm_backward": [
        "grad_output", "x", "stats.mean", "stats.inv_std", "weight", "out",
    ],
    "batch_norm": ["x", "running_mean", "running_var", "weight", "bias", "out"],
    "batch_norm_forward": ["x", "weight", "bias", "out"],
    "batch_norm_backward": [
        "grad_output", "x", "stats.mean", "stats.inv_std", "weight", "out",
    ],
    "update_running_stats": ["running_mean", "running_var", "stats.mean", "stats.var"],
    **{name + end: ["x", "out"] for name in DROPOUTS for end in ("", "_forward")},
    **{f"{name}_backward": ["grad_output", "out"] for name in DROPOUTS},
    "BatchStats.from_running": ["running_mean", "running_var"],
}  # fmt: skip


def array_cases() -> Iterator[Bad]:
    for function, arguments in ARRAYS.items():
        for argument in arguments:
            yield from wrong_types(function, argument)
            yield from wrong_dtypes(function, argument)
            dropout_backward = function.endswith("dropout_backward")
            first = argument == ("grad_output" if dropout_backward else "x")
            if (not first or dropout_backward) and (
                (function, argument) != ("BatchStats.from_running", "running_mean")
                and (function, argument) != ("update_running_stats", "stats.mean")
            ):
                yield from wrong_shapes(function, argument)


def out_cases() -> Iterator[Bad]:
    for function, arguments in ARRAYS.items():
        if "out" not in arguments:
            continue

        def bad(label: str, make: Any, *words: str, function: str = function) -> Bad:
            return Bad(function, "out", label, make, ValueError, words)

        yield bad("read-only", lambda a: read_only(a["out"]), "writeable", "got a read-only")
        twice = partial(np.lib.stride_tricks.as_strided, shape=SHAPE, strides=(0, 44, 4))
        yield bad("overlapping itself", lambda a, twice=twice: twice(a["out"]))
        for argument in ("x", "grad_output"):
            if argument in arguments:
                yield bad(f"{argument} shifted by one", shifted(argument), argument, "overlaps")
                yield bad(f"{argument} reversed", lambda a, n=argument: a[n][::-1], argument,
                          "overlaps")  # fmt: skip
                yield bad(f"{argument} transposed into", into_transposed(argument), argument,
                          "overlaps")  # fmt: skip
                for text, flips in DIRECTIONS.items():
                    for half, out_first in (("first", True), ("second", False)):
                        label = f"over the {half} half of {argument}, {text.format(argument)}"
                        yield bad(label, into_half(argument, flips, out_first), argument,
                                  "overlaps")  # fmt: skip
        if function.endswith("norm_backward"):
            yield bad("x itself", lambda a: a["x"], "x", "overlaps")
        for argument in arguments:
            if argument not in ("x", "grad_output", "out"):
                yield bad(f"over {argument}", over(argument), argument, "overlaps")


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def shifted(argument: str) -> Callable[[dict[str, Any]], np.ndarray]:
    """``out`` one element behind an input in one buffer; the input is moved there too."""

    def make(arguments: dict[str, Any]) -> np.ndarray:
        values = arguments[argument]
        line = np.zeros(values.size + 1, values.dtype)
        line[:-1] = values.ravel()
        arguments[argument] = line[:-1].reshape(values.shape)
        return line[1:].reshape(values.shape)

    return make


def into_transposed(argument: str) -> Callable[[dict[str, Any]], np.ndarray]:
    """``out`` at the same address as an input with other strides."""

    def make(arguments: dict[str, Any]) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(
            arguments[argument], SHAPE, (4, 20, 140)
        )  # fmt: skip

    return make


def over(argument: str) -> Callable[[dict[str, Any]], np.ndarray]:
    """``out`` whose memory holds a parameter or a statistic as well."""

    def make(arguments: dict[str, Any]) -> np.ndarray:
        values, line = array_of(arguments, argument), arguments["out"].ravel()
        part = line[20 : 20 + values.nbytes // line.itemsize].view(values.dtype)
        part = part.reshape(values.shape)
        part[...] = values
        put(arguments, argument, part)
        return line.reshape(SHAPE)

    return make


FORWARD, BACKWARD, FIRST, LAST = ((), (0, 1, 2), (0,), (2,))  # axes to go down backwards
DIRECTIONS = {
    "{} reversed": (BACKWARD, FORWARD),
    "out reversed": (FORWARD, BACKWARD),
    "both reversed": (BACKWARD, BACKWARD),
    "the first axis of out reversed": (FORWARD, FIRST),
    "the last axis of out reversed": (FORWARD, LAST),
    "the last axis of {} reversed": (LAST, FORWARD),
}


def into_half(
    argument: str, flips: tuple[tuple[int, ...], tuple[int, ...]], out_first: bool
) -> Callable[[dict[str, Any]], np.ndarray]:
    """An input and ``out`` that share half of their memory, each with axes of negative stride."""

    def make(arguments: dict[str, Any]) -> np.ndarray:
        values = arguments[argument]
        half = values.size // 2
        line = np.zeros(values.size + half, values.dtype)
        halves = line[: values.size], line[half:]
        parts = [part.reshape(SHAPE) for part in (halves[::-1] if out_first else halves)]
        moved, out = (np.flip(part, axes) for part, axes in zip(parts, flips, strict=True))
        moved[...] = values
        arguments[argument] = moved
        return out

    return make


SCALARS: dict[str, list[tuple[Any, type[Exception], tuple[str, ...]]]] = {
    "eps": [
        (-1e-5, ValueError, ("got -1e-05",)),
        (float("nan"), ValueError, ("got nan",)),
        (-float("inf"), ValueError, ("got -inf",)),
        ("1e-5", TypeError, ("real", "got str")),
        (None, TypeError, ("real", "got NoneType")),
        ([1e-5], TypeError, ("real", "got list")),
        (1e-5 + 0j, TypeError, ("real", "got complex")),
        (True, TypeError, ("real", "got bool")),
    ],
    "axis": [
        (3, ValueError, ("got 3",)),
        (-4, ValueError, ("got -4",)),
        (2**70, ValueError, ("got",)),
        ((), ValueError, ("got ()",)),
        ((1, 1), ValueError, ("once", "got (1, 1)")),
        ((1, -2), ValueError, ("once", "got (1, -2)")),
        ((0, 2), ValueError, ("neighbouring", "got (0, 2)")),
        ((2, 3), ValueError, ("got 3",)),
        (1.0, TypeError, ("integer", "got float")),
        ((1.0,), TypeError, ("integer", "got float")),
        ("1", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        ([1], TypeError, ("integer", "got list")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "channel_axis": [
        (3, ValueError, ("got 3",)),
        (-4, ValueError, ("got -4",)),
        (1.0, TypeError, ("integer", "got float")),
        ((1,), TypeError, ("integer", "got tuple")),
        (None, TypeError, ("integer", "got NoneType")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "frozen": [(1, TypeError, ("got int",)), (None, TypeError, ("got NoneType",))],
    "bias": [
        (1, TypeError, ("got int",)),
        (np.zeros(7, np.float32), TypeError, ("got numpy.ndarray",)),
        ("yes", TypeError, ("got str",)),
    ],
    "p": [
        (-0.1, ValueError, ("got -0.1",)),
        (1.1, ValueError, ("got 1.1",)),
        (float("nan"), ValueError, ("got nan",)),
        ("0.5", TypeError, ("real", "got str")),
        (None, TypeError, ("real", "got NoneType")),
        (0.5j, TypeError, ("real", "got complex")),
        (True, TypeError, ("real", "got bool")),
    ],
    "beta": [
        (-0.1, ValueError, ("got -0.1",)),
        (1.1, ValueError, ("got 1.1",)),
        (float("nan"), ValueError, ("got nan",)),
        ("0.5", TypeError, ("real", "got str")),
        (None, TypeError, ("real", "got NoneType")),
        (0.5j, TypeError, ("real", "got complex")),
        (True, TypeError, ("real", "got bool")),
    ],
    "shared_axes": [
        (3, ValueError, ("from -3 to 2", "3 axes", "got 3")),
        ((0, -4), ValueError, ("from -3 to 2", "got -4")),
        ((2**70,), ValueError, ("got",)),
        ((1, 1), ValueError, ("once", "got (1, 1)")),
        ((1, -2), ValueError, ("once", "got (1, -2)")),
        (1.0, TypeError, ("integer", "got float")),
        ((1.0,), TypeError, ("integer", "got float")),
        ("1", TypeError, ("integer", "got str")),
        (None, TypeError, ("integer", "got NoneType")),
        ([1], TypeError, ("integer", "got list")),
        (True, TypeError, ("integer", "got bool")),
    ],
    "rng": [
        (-1, ValueError, ("got -1",)),
        (2**64, ValueError, ("got 18446744073709551616",)),
        ((1,), ValueError, ("pair", "got")),
        ((1, 2, 3), ValueError, ("pair", "got")),
        ((1, -2), ValueError, ("got -2",)),
        ((2**64, 0), ValueError, ("got 18446744073709551616",)),
        ((1.0, 2), TypeError, ("got float",)),
        (1.5, TypeError, ("got float",)),
        ("seed", TypeError, ("got str",)),
        (True, TypeError, ("got bool",)),
        (np.random.RandomState(0), TypeError, ("got", "RandomState")),
    ],
    "seed": [
        (-1, ValueError, ("got -1",)),
        (2**64, ValueError, ("got",)),
        (1.0, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "shape": [
        ((-1, 3), ValueError, ("got (-1, 3)",)),
        ("ab", TypeError, ("got str",)),
        ((1.5,), TypeError, ("got",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "momentum": [
        (-0.1, ValueError, ("got -0.1",)),
        (1.1, ValueError, ("got 1.1",)),
        (float("nan"), ValueError, ("got nan",)),
        ("0.1", TypeError, ("got str",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "correction": [
        (2, ValueError, ("got 2",)),
        (-1, ValueError, ("got -1",)),
        (0.5, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "mask": [
        (None, TypeError, ("DropoutMask", "got NoneType")),
        (np.ones(SHAPE, bool), TypeError, ("DropoutMask", "got")),
    ],
    "name": [
        ("nope", ValueError, ("baseline", "got 'nope'")),
        ("", ValueError, ("baseline", "got ''")),
        *(
            (known, RuntimeError, (known, "baseline"))
            for known in ("cuda", "cuda-emulated")
            if known not in nd.backends()
        ),
        (3, TypeError, ("got int",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "n": [
        (0, ValueError, ("got 0",)),
        (-1, ValueError, ("got -1",)),
        (1.5, TypeError, ("got float",)),
        (None, TypeError, ("got NoneType",)),
        (True, TypeError, ("got bool",)),
    ],
    "bytes": [
        (-1, ValueError, ("got -1",)),
        (1.5, TypeError, ("got float",)),
        ("1", TypeError, ("got str",)),
        (None, TypeError, ("got NoneType",)),
    ],
    "mode": [("json", ValueError, ("stdout", "dict", "got 'json'"))],
}
SCALARS["call"] = SCALARS["seed"]


def scalar_cases() -> Iterator[Bad]:
    for function in FUNCTIONS:
        for argument, value in good_arguments(function).items():
            if argument not in SCALARS or isinstance(value, np.ndarray):
                continue
            for wrong, error, words in SCALARS[argument]:
                yield Bad(function, argument, f"{type(wrong).__name__} {wrong!r:.20}",
                          constant(wrong), error, words)  # fmt: skip


def stats_cases() -> Iterator[Bad]:
    kinds = {"layer_norm_backward": "NormStats", "batch_norm_backward": "BatchStats",
             "update_running_stats": "BatchStats"}  # fmt: skip
    for function, kind in kinds.items():
        other = {"NormStats": "BatchStats", "BatchStats": "NormStats"}[kind]
        wrong = good_arguments(
            {"NormStats": "batch_norm_backward", "BatchStats": "layer_norm_backward"}[kind]
        )["stats"]
        yield Bad(function, "stats", other, constant(wrong), TypeError, (kind, f"got .*{other}"))
        yield Bad(function, "stats", "a tuple", lambda a: tuple(a["stats"]), TypeError,
                  (kind, "got tuple"))  # fmt: skip
        yield Bad(function, "stats", "None", constant(None), TypeError, (kind, "got NoneType"))
    for count in (0, 1):
        yield Bad("update_running_stats", "stats.count", f"{count}", constant(count), ValueError,
                  ("correction", f"got {count}"))  # fmt: skip


def special_cases() -> Iterator[Bad]:
    f4 = np.float32

    def value(function: str, argument: str, label: str, make: Any, *words: str) -> Bad:
        make = make if callable(make) else constant(make)
        return Bad(function, argument, label, make, ValueError, words)

    for function in ("batch_norm", "batch_norm_forward", "batch_norm_backward"):
        yield value(function, "x", "of one axis", np.ones(7, f4), "at least 2", "got", "(7,)")
    for function in ("layer_norm", "layer_norm_forward"):
        yield value(function, "x", "of no axis", np.array(1, f4), "got", "()")
    yield value(
        "batch_norm_forward",
        "x",
        "with one value per channel",
        lambda a: a["x"][:1, :, :1].copy(),
        "at least 2 values per channel",
        "got 1",
    )
    update, two_axes = "update_running_stats", np.ones((7, 1))
    broadcast = np.lib.stride_tricks.as_strided(np.ones(1, f4), (7,), (0,))
    for argument in ("running_mean", "running_var"):
        frozen = partial(_frozen, argument)
        yield value(update, argument, "read-only", frozen, "writeable", "read-only")
        yield value(update, argument, "broadcast", broadcast, "once", "got")
    itself = itemgetter("running_mean")
    yield value(update, "running_var", "running_mean itself", itself, "running_mean", "overlaps")
    for argument in ("running_mean", "running_var"):
        for field in ("mean", "var"):
            name = f"stats.{field}"
            own = partial(_own_statistic, field)
            yield value(update, argument, f"{name} itself", own, name, "overlaps")
            shared = partial(_shared_statistic, field)
            yield value(update, argument, f"behind {name}", shared, name, "overlaps")
    yield value(update, "stats.mean", "of two axes", two_axes, "1-D", "got", "(7, 1)")
    from_running = "BatchStats.from_running"
    yield value(from_running, "running_mean", "of two axes", two_axes, "1-D", "got", "(7, 1)")


def _frozen(argument: str, arguments: dict[str, Any]) -> np.ndarray:
    return read_only(arguments[argument])


def _own_statistic(field: str, arguments: dict[str, Any]) -> np.ndarray:
    return getattr(arguments["stats"], field)


def _shared_statistic(field: str, arguments: dict[str, Any]) -> np.ndarray:
    """Of every element of a statistic but the first, and one more."""
    values = _own_statistic(field, arguments)
    line = np.append(values, 1.0)
    put(arguments, f"stats.{field}", line[:-1])
    return line[1:]


CASES = [
    *array_cases(), *out_cases(), *scalar_cases(), *stats_cases(), *special_cases(),
]  # fmt: skip
