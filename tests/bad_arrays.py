"""Arrays of a wrong kind, dtype or shape, for every argument that is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

import normdrop as nd
from cases import is_device
from good_calls import get
from public_functions import array_roles, leader, may_be_none

HAS_DEVICE = any(is_device(name) for name in nd.backends())
Arguments = dict[str, Any]


class Bad(NamedTuple):
    """One wrong value of one argument; ``words`` must stand in the message."""

    function: str
    argument: str
    label: str
    value: Callable[[Arguments], Any]
    error: type[Exception]
    words: tuple[str, ...]


class Subclass(np.ndarray):
    """Any subclass may redefine what its elements mean."""


class FakeDeviceArray:
    """What a CUDA array looks like from outside."""

    __cuda_array_interface__: ClassVar = {
        "shape": (5, 7, 11),
        "typestr": "<f4",
        "data": (0, False),
        "version": 3,
    }

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


def constant(value: Any) -> Callable[[Arguments], Any]:
    return lambda arguments: value


def array_cases(function: str) -> Iterator[Bad]:
    for argument, role in array_roles(function).items():
        yield from _wrong_types(function, argument)
        yield from _wrong_dtypes(function, argument, role)
        if argument != leader(function) or function.endswith(
            "dropout_backward"
        ):  # as its mask says
            yield from _wrong_shapes(function, argument)


def _wrong_types(function: str, argument: str) -> Iterator[Bad]:
    """What is not a plain array: lists, masked arrays, subclasses, scalars, device arrays."""

    def bad(label: str, make: Callable[[np.ndarray], Any], *words: str) -> Bad:
        return Bad(
            function, argument, label, lambda a: make(get(a, argument)), TypeError,
            ("numpy.ndarray", *words),
        )  # fmt: skip

    yield bad("a list", lambda v: v.tolist(), "got list")
    yield bad("a masked array", np.ma.masked_array, "MaskedArray")
    yield bad("a subclass", lambda v: v.view(Subclass), "Subclass")
    yield bad("a number", lambda v: 3.0, "got float")
    yield bad("a memoryview", lambda v: memoryview(v), "got memoryview")
    if not may_be_none(function, argument):
        yield bad("None", lambda v: None, "got NoneType")
    if function != "BatchStats.from_running":
        yield _device_array(function, argument)


def _device_array(function: str, argument: str) -> Bad:
    """Refused by a build without devices; else beside NumPy arrays, and for its address 0."""
    leads = argument == leader(function)
    error: type[Exception] = RuntimeError
    words: tuple[str, ...] = ("CPU", "pip install .*-C cmake.define.NORMDROP_CUDA=ON")
    if HAS_DEVICE:
        error = ValueError if leads else TypeError
        words = ("address 0x0",) if leads else ("numpy.ndarray like the other arrays",)
    return Bad(function, argument, "a device array", constant(FakeDeviceArray()), error, words)


def _wrong_dtypes(function: str, argument: str, role: str) -> Iterator[Bad]:
    """Other types, other precisions than that of x, and data in another byte order (K7)."""
    names = ["int64", "complex64", "object", "bool"]
    leads = role == "leader"
    if not leads:
        names.append("float16")
    if role in ("statistic", "statistics"):
        names.append("float32")
    elif role != "running" and not leads:
        names.append("float64")
    kinds: list[tuple[str, Any]] = [(name, np.dtype(name)) for name in names]
    kinds += [(">f4", np.dtype(">f4")), ("float8_e4m3", np.dtype(ml_dtypes.float8_e4m3))]
    kinds += [(">f2", np.dtype(">f2"))] if leads else [("bfloat16", np.dtype(ml_dtypes.bfloat16))]
    if np.dtype(np.longdouble) != np.float64:
        kinds.append((np.dtype(np.longdouble).name, np.dtype(np.longdouble)))
    for name, kind in kinds:
        yield Bad(
            function, argument, f"{name} data", lambda a, k=kind: get(a, argument).astype(k),
            TypeError, ("float", f"got {name}"),
        )  # fmt: skip


def _wrong_shapes(function: str, argument: str) -> Iterator[Bad]:
    def bad(label: str, make: Callable[[np.ndarray], Any]) -> Bad:
        return Bad(function, argument, label, lambda a: make(get(a, argument)), ValueError,
                   ("shape", "got"))  # fmt: skip

    yield bad("one axis too many", lambda v: v[None].copy())
    yield bad("one element too few", lambda v: v[..., :-1].copy())
    yield bad("one element too many", lambda v: np.concatenate([v, v[..., :1]], axis=-1))
    yield bad("no elements", lambda v: v[..., :0].copy())
