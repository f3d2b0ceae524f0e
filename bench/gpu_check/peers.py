"""The libraries that are timed, each preparing one call of a case on arrays of the device.

The PyTorch and JAX adapters of ``normdrop bench`` serve here as well: only where arrays come from
differs. In a dry run everything runs on the host, and NumPy takes CuPy's place.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.cupy_peer import CupyPeer
from gpu_check.data import DeviceData
from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import Call as BuiltCall
from normdrop.benchmark.operations import operation_of
from normdrop.benchmark.peers import Unsupported
from normdrop.benchmark.peers.jax_peer import JaxPeer
from normdrop.benchmark.peers.torch_compile_peer import RECORDED
from normdrop.benchmark.peers.torch_peer import TorchPeer, channels_first

Call = Callable[[], Any]


def ours(case: Case, data: DeviceData) -> dict[str, Call]:
    """Return normdrop's call with fresh outputs, and ``out`` into an array given beforehand."""
    operation = operation_of(case)
    built = operation.ours(nd, case, data)
    call: Any = partial(built.function, *built.arguments)
    if case.direction in operation.without_out:
        return {"fresh": call}
    return {"fresh": call, "out": partial(call, out=data.out)}


class TorchOnDevice(TorchPeer):
    """PyTorch as in ``normdrop bench``, on tensors that are on the device already."""

    libraries = ("torch_on_device", "torch")

    def __init__(self) -> None:
        super().__init__(importlib.import_module("torch").get_num_threads())

    def call(self, case: Case, data: DeviceData) -> Call:
        """Return the call of a case."""
        built = self.call_of(case, data.for_torch())
        return partial(self.compiled(built), *built.arguments)

    def _tensor(self, case: Case, array: Any) -> Any:
        return channels_first(case, array)


class TorchCompiledOnDevice(TorchOnDevice):
    """The same through ``torch.compile``; one compilation serves all buffers of a case.

    Backward passes are the plain functions: Inductor knows them and writes its own kernels.
    """

    libraries = ("torch",)

    def __init__(self) -> None:
        super().__init__()
        self.case: Case | None = None
        self.compiled_function: Callable[..., Any] | None = None

    def compiled(self, call: BuiltCall) -> Callable[..., Any]:
        """Compile the function of the first buffer; those of the others are the same."""
        if call.recorded:
            raise Unsupported(RECORDED)
        if self.compiled_function is None:
            self.compiled_function = self.torch.compile(call.function, dynamic=False)
        return self.compiled_function

    def call(self, case: Case, data: DeviceData) -> Call:
        """Return the call of a case."""
        if self.case is not case:
            # Without this the ninth shape would silently run uncompiled.
            self.torch.compiler.reset()
            self.case, self.compiled_function = case, None
        return super().call(case, data)


class JaxOnDevice(JaxPeer):
    """JAX as in ``normdrop bench``, on the device; arrays come by DLPack, without a copy."""

    def __init__(self, dry: bool) -> None:
        if not dry:
            os.environ["JAX_PLATFORMS"] = "cuda"
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        super().__init__()
        if not dry and self.jax.default_backend() != "gpu":
            raise Unsupported("this JAX sees no GPU")
        self.case: Case | None = None
        self.jitted: Any = None

    def call(self, case: Case, data: DeviceData) -> Call:
        """Return the call of a case, which does not wait for its result."""
        built = self.call_of(case, data.for_jax(self.jax))
        if self.case is not case:
            self.case, self.jitted = case, self.jax.jit(built.function)
        return partial(self.jitted, *built.arguments)


def load_peers(against: Sequence[str], dry: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the peers that can be used, and why the others of those wanted cannot."""
    makers: dict[str, Callable[[], Any]] = {
        "torch": TorchOnDevice,
        "torch_compile": TorchCompiledOnDevice,
        "cupy": lambda: CupyPeer(np if dry else importlib.import_module("cupy")),
        "jax": lambda: JaxOnDevice(dry),
    }
    usable, unavailable = {}, {}
    for name in against:
        try:
            usable[name] = makers[name]()
        except Exception as error:
            unavailable[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return usable, unavailable
