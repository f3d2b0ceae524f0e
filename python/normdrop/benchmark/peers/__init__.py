"""Adapters: how each library does the work of a case.

Every adapter has the same two methods, so that the worker measures them alike. A library is
imported by its adapter only, inside that library's own process.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import Array, CaseData
from normdrop.benchmark.operations import Call, arrays_of
from normdrop.benchmark.operations import Unsupported as Unsupported

OURS = "normdrop"

# name -> (module of the adapter, packages that must be installed)
_ADAPTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    OURS: ("ours", ()),
    "numpy": ("numpy_peer", ("numpy",)),
    "torch": ("torch_peer", ("torch",)),
    "torch_compile": ("torch_compile_peer", ("torch",)),
    "jax": ("jax_peer", ("jax",)),
    "onnxruntime": ("onnxruntime_peer", ("onnxruntime", "onnx")),
}


@dataclass(frozen=True)
class Work:
    """One case, ready to be called again and again.

    Attributes
    ----------
    call : callable
        Does the work once into fresh outputs, the way the library's users get them, and
        returns when it is done.
    outputs : callable
        Turns what ``call`` returned into NumPy arrays in the case's memory layout: (y,) or
        (grad_x, grad_weight, grad_bias).
    variants : mapping
        Other ways to call that are timed beside it, by name: ``out`` (results into memory given
        beforehand) and the copies that measure the bandwidth.
    keep : ndarray of bool, optional
        The mask behind a dropout backward.
    """

    call: Callable[[], Any]
    outputs: Callable[[Any], tuple[Array, ...]]
    variants: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    keep: Array | None = field(default=None, repr=False)


def work_of(
    call: Call,
    function: Callable[..., Any] | None = None,
    convert: Callable[[Any], Array] = lambda array: array,
) -> Work:
    """Make the work of a record's call; ``function`` is what stands for the call's own."""
    keep = None if call.keep is None else np.asarray(call.keep())
    return Work(
        partial(function or call.function, *call.arguments),
        lambda result: tuple(convert(array) for array in arrays_of(result)),
        keep=keep,
    )


class Peer(Protocol):
    """What an adapter offers."""

    def version(self) -> str:
        """Tell the version of the library, with what else matters to its speed."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case; `Unsupported` where there is none."""

    def drop_caches(self) -> None:
        """Give recycled memory back to the system, where the library recycles any."""


def missing_packages(name: str) -> list[str]:
    """List the packages that this peer needs and that are not installed."""
    return [package for package in _ADAPTERS[name][1] if importlib.util.find_spec(package) is None]


def load_peer(name: str, threads: int) -> Peer:
    """Import a library and limit it to so many threads."""
    module = importlib.import_module(f"{__name__}.{_ADAPTERS[name][0]}")
    peer: Peer = module.create(threads)
    return peer
