"""Every argument of every function, given wrongly: the exception and what its message says.

A message names the function and the argument, what was expected and what came. All checks come
before the first write: neither the inputs nor ``out`` may have changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from cases import normal, parameter

import normdrop as nd

SHAPE = (5, 7, 11)


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

    __cuda_array_interface__ = {"shape": SHAPE, "typestr": "<f4", "data": (0, False), "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


# Good arguments -----------------------------------------------------------------------------------


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
        "dropout": {"x": x, "p": 0.5, "rng": 3, "out": out},
        "dropout_forward": {"x": x, "p": 0.5, "rng": 3, "out": out},
        "dropout_backward": {
            "grad_output": grad, "mask": nd.DropoutMask(3, 0, 0.5, SHAPE), "out": out,
        },
        "DropoutMask": {"seed": 3, "call": 0, "p": 0.5, "shape": SHAPE},
        "BatchStats.from_running": {**running, "eps": 1e-5},
        "use_backend": {"name": "baseline"},
        "set_num_threads": {"n": 1},
        "set_pool_limit": {"bytes": 0},
        "show_config": {"mode": "dict"},
    }[function]  # fmt: skip


FUNCTIONS = [
    "layer_norm", "layer_norm_forward", "layer_norm_backward", "batch_norm", "batch_norm_forward",
    "batch_norm_backward", "update_running_stats", "dropout", "dropout_forward",
    "dropout_backward", "DropoutMask", "BatchStats.from_running", "use_backend",
    "set_num_threads", "set_pool_limit", "show_config",
]  # fmt: skip


def find(function: str) -> Callable[..., Any]:
    found: Any = nd
    for part in function.split("."):
        found = getattr(found, part)
    return found


# Wrong arguments ----------------------------------------------------------------------------------


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
        yield Bad(function, argument, "a device array", constant(FakeDeviceArray()), RuntimeError,
                  ("CPU",))  # fmt: skip


def wrong_dtypes(function: str, argument: str) -> Iterator[Bad]:
    names = ["float16", "int64", "complex64", "object", "bool"]
    free = argument in ("running_mean", "running_var")
    leads = argument == ("grad_output" if function == "dropout_backward" else "x")
    if not free and not leads:
        names.append("float64" if not argument.startswith("stats.") else "float32")
    kinds: list[tuple[str, Any]] = [(name, np.dtype(name)) for name in names]
    kinds += [("bfloat16", np.dtype(ml_dtypes.bfloat16)), (">f4", np.dtype(">f4"))]
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
                   ("shape", "got ("))  # fmt: skip

    yield bad("one axis too many", lambda v: v[None].copy())
    yield bad("one element too few", lambda v: v[..., :-1].copy())
    yield bad("one element too many", lambda v: np.concatenate([v, v[..., :1]], axis=-1))
    yield bad("no elements", lambda v: v[..., :0].copy())


def array_of(arguments: dict[str, Any], argument: str) -> np.ndarray:
    """The good array of an argument, which may be a field as in ``stats.mean``."""
    head, _, field = argument.partition(".")
    value = arguments[head]
    return getattr(value, field) if field else value


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
    "dropout": ["x", "out"],
    "dropout_forward": ["x", "out"],
    "dropout_backward": ["grad_output", "out"],
    "BatchStats.from_running": ["running_mean", "running_var"],
}  # fmt: skip


def array_cases() -> Iterator[Bad]:
    for function, arguments in ARRAYS.items():
        for argument in arguments:
            yield from wrong_types(function, argument)
            yield from wrong_dtypes(function, argument)
            first = argument == ("grad_output" if function == "dropout_backward" else "x")
            if (not first or function == "dropout_backward") and (
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
        yield bad("overlapping itself",
                  lambda a: np.lib.stride_tricks.as_strided(a["out"], SHAPE, (0, 44, 4)))  # fmt: skip
        for argument in ("x", "grad_output"):
            if argument in arguments:
                yield bad(f"{argument} shifted by one", shifted(argument), argument, "overlaps")
                yield bad(f"{argument} reversed", lambda a, n=argument: a[n][::-1], argument,
                          "overlaps")  # fmt: skip
                yield bad(f"{argument} transposed into", into_transposed(argument), argument,
                          "overlaps")  # fmt: skip
        if function.endswith("norm_backward"):
            yield bad("x itself", lambda a: a["x"], "x", "overlaps")
        for argument in ("weight", "bias"):
            if argument in arguments:
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
    """``out`` whose memory holds a parameter as well."""

    def make(arguments: dict[str, Any]) -> np.ndarray:
        values, out = arguments[argument], arguments["out"]
        line = out.ravel()
        part = line[20 : 20 + values.size]
        part[...] = values
        arguments[argument] = part
        return line.reshape(SHAPE)

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
        ("cuda", RuntimeError, ("cuda", "baseline")),
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
    for function in ("batch_norm", "batch_norm_forward", "batch_norm_backward"):
        yield Bad(function, "x", "of one axis", constant(np.ones(7, np.float32)), ValueError,
                  ("at least 2", r"got .*\(7,\)"))  # fmt: skip
    for function in ("layer_norm", "layer_norm_forward"):
        yield Bad(function, "x", "of no axis", constant(np.array(1, np.float32)), ValueError,
                  (r"got .*\(\)",))  # fmt: skip
    yield Bad("batch_norm_forward", "x", "with one value per channel",
              lambda a: a["x"][:1, :, :1].copy(), ValueError,
              ("at least 2 values per channel", "got 1"))  # fmt: skip
    for argument in ("running_mean", "running_var"):
        yield Bad("update_running_stats", argument, "read-only",
                  lambda a, n=argument: read_only(a[n]), ValueError, ("writeable", "read-only"))  # fmt: skip
        yield Bad("update_running_stats", argument, "broadcast",
                  lambda a: np.lib.stride_tricks.as_strided(np.ones(1, np.float32), (7,), (0,)),
                  ValueError, ("once", "got"))  # fmt: skip
    yield Bad("update_running_stats", "running_var", "running_mean itself",
              lambda a: a["running_mean"], ValueError, ("running_mean", "overlaps"))  # fmt: skip
    yield Bad("BatchStats.from_running", "running_mean", "of two axes",
              constant(np.ones((7, 1))), ValueError, ("1-D", r"got .*\(7, 1\)"))  # fmt: skip
    yield Bad("update_running_stats", "stats.mean", "of two axes", constant(np.ones((7, 1))),
              ValueError, ("1-D", r"got .*\(7, 1\)"))  # fmt: skip


CASES = [
    *array_cases(), *out_cases(), *scalar_cases(), *stats_cases(), *special_cases(),
]  # fmt: skip


def with_bad(arguments: dict[str, Any], bad: Bad) -> dict[str, Any]:
    """The good arguments with one wrong value, or with one wrong field."""
    wrong = bad.value(arguments)
    head, _, field = bad.argument.partition(".")
    value = arguments[head]._replace(**{field: wrong}) if field else wrong
    return {**arguments, head: value}


def snapshot(arguments: dict[str, Any]) -> list[bytes]:
    arrays: list[np.ndarray] = []
    for value in arguments.values():
        parts = value if isinstance(value, tuple) else (value,)
        arrays += [part for part in parts if isinstance(part, np.ndarray) and part.dtype != object]
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("bad", CASES, ids=lambda b: f"{b.function}-{b.argument}-{b.label}")
def test_bad_input(bad):
    arguments = with_bad(good_arguments(bad.function), bad)
    before = snapshot(arguments)
    with pytest.raises(bad.error) as caught:
        find(bad.function)(**arguments)
    assert type(caught.value) is bad.error, "a subclass of the promised exception"
    message = str(caught.value)
    assert message.startswith(f"{bad.function}: "), message
    assert re.search(rf": {re.escape(bad.argument)}\b", message), message
    for word in bad.words:
        assert word in message or re.search(word, message), f"{word!r} not in {message!r}"
    assert snapshot(arguments) == before, "something was written before the check"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_arguments_are_good(function):
    """Otherwise the table above would prove nothing."""
    arguments = good_arguments(function)
    before = nd.get_num_threads(), nd.show_config("dict")["pool_limit_bytes"]
    backend = nd.show_config("dict")["backend"]
    find(function)(**arguments)
    nd.set_num_threads(before[0])
    nd.set_pool_limit(before[1])
    nd.use_backend(backend)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_argument_is_in_the_table(function):
    parameters = inspect.signature(find(function)).parameters
    tested = {bad.argument.partition(".")[0] for bad in CASES if bad.function == function}
    assert set(parameters) - {"self", "cls"} == tested == set(good_arguments(function))


def test_every_public_function_is_in_the_table():
    functions = {name for name in nd.__all__ if callable(getattr(nd, name))}
    without_arguments = {"backends", "get_num_threads", "release_pool"}
    results = {"NormStats", "Gradients", "BatchStats"}
    assert functions - without_arguments - results == set(FUNCTIONS) - {"BatchStats.from_running"}


def test_keyword_only_arguments():
    for function in ("layer_norm", "batch_norm_forward", "dropout"):
        kinds = {p.name: p.kind for p in inspect.signature(find(function)).parameters.values()}
        assert kinds["out"] is inspect.Parameter.KEYWORD_ONLY


def test_half_precision_says_that_it_is_not_there_yet():
    for dtype in (np.float16, ml_dtypes.bfloat16):
        for call in (nd.layer_norm, nd.batch_norm_forward, nd.dropout):
            with pytest.raises(TypeError, match=r"x must have dtype float32 or float64, got"):
                call(np.ones((3, 5), dtype))


def test_host_tensors_are_told_how_to_become_arrays():
    """The message names .numpy(), and .detach() where a gradient is wanted."""
    torch = pytest.importorskip("torch")
    x = np.ones((3, 5), np.float32)
    for tensor in (torch.ones(3, 5), torch.ones(3, 5, requires_grad=True)):
        for call in (
            lambda t: nd.layer_norm(t),
            lambda t: nd.dropout(t),
            lambda t: nd.layer_norm(x, t),
            lambda t: nd.layer_norm(x, out=t),
        ):
            with pytest.raises(TypeError, match=r"Tensor.*\.numpy\(\)"):
                call(tensor)
    with pytest.raises(TypeError, match="detach"):
        nd.layer_norm(torch.ones(3, 5, requires_grad=True))


def test_numpy_scalars_are_numbers():
    """eps, p and axes may come out of an array."""
    x = np.ones((3, 5), np.float32)
    nd.layer_norm(x, eps=np.float32(1e-5), axis=np.int64(1))
    nd.layer_norm(x, eps=np.float64(1e-5), axis=(np.int32(1),))
    nd.layer_norm(x, eps=0, axis=-1)
    nd.batch_norm_forward(x, channel_axis=np.int8(1), eps=1)
    nd.dropout(x, np.float32(0.5), rng=np.uint64(2**64 - 1))
    nd.dropout(x, 0, rng=(np.int64(1), np.uint32(2)))


def test_weight_of_another_size_is_never_read():
    """A missing check reads past the end (D18)."""
    x = np.ones((3, 1000), np.float32)
    for size in (0, 1, 999, 1001):
        with pytest.raises(ValueError, match=rf"weight must have shape \(1000,\), got \({size},\)"):
            nd.layer_norm(x, np.ones(size, np.float32))
