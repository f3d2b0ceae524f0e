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
from normdrop.benchmark.cases import DROP_PROBABILITY, EPS, Case
from normdrop.benchmark.peers import Unsupported
from normdrop.benchmark.peers.jax_peer import JaxPeer
from normdrop.benchmark.peers.torch_peer import TorchPeer

Call = Callable[[], Any]
_RNG = (2014, 0)


def ours(case: Case, data: DeviceData) -> tuple[Call, Call]:
    """Return normdrop's call with fresh outputs, and into an array given beforehand."""
    call = _our_call(case, data)
    return call, partial(call, out=data.out)


def _our_call(case: Case, d: DeviceData) -> Call:
    axis = {"channel_axis": case.channel_axis}
    which = (case.op, case.direction)
    if which == ("dropout", "forward"):
        return partial(nd.dropout, d.x, DROP_PROBABILITY, rng=_RNG)
    if which == ("dropout", "backward"):
        mask = nd.DropoutMask(*_RNG, DROP_PROBABILITY, case.memory_shape)
        return partial(nd.dropout_backward, d.grad_output, mask)
    if which == ("layer_norm", "forward"):
        return partial(nd.layer_norm, d.x, d.weight, d.bias)
    if which == ("layer_norm", "backward"):
        _, row_stats = nd.layer_norm_forward(d.x, d.weight, d.bias)
        return partial(nd.layer_norm_backward, d.grad_output, d.x, row_stats, d.weight)
    if which == ("batch_norm", "inference"):
        return partial(nd.batch_norm, d.x, d.running_mean, d.running_var, d.weight, d.bias, **axis)
    if which == ("batch_norm", "forward"):
        return partial(nd.batch_norm_forward, d.x, d.weight, d.bias, **axis)
    _, stats = nd.batch_norm_forward(d.x, d.weight, d.bias, **axis)
    return partial(nd.batch_norm_backward, d.grad_output, d.x, stats, d.weight, **axis)


class TorchOnDevice(TorchPeer):
    """PyTorch as in ``normdrop bench``, on tensors that are on the device already."""

    def __init__(self) -> None:
        super().__init__(importlib.import_module("torch").get_num_threads())

    def call(self, case: Case, data: DeviceData) -> Call:
        """Return the call of a case."""
        return self.prepare(case, data.for_torch()).call

    def _tensor(self, case: Case, array: Any) -> Any:
        """View channels last as PyTorch names them: the same memory."""
        if case.layout == "nhwc" and array is not None and array.ndim == 4:
            return array.permute(0, 3, 1, 2)
        return array

    def _batch_norm(self, case: Case, t: dict[str, Any]) -> Any:
        """Backward as autograd does it, so that cuDNN is used where autograd uses it."""
        if case.direction != "backward":
            return super()._batch_norm(case, t)
        aten, x, weight, bias = self.torch.ops.aten, t["x"], t["weight"], t["bias"]
        forward = aten._batch_norm_impl_index(x, weight, bias, None, None, True, 0.1, EPS, True)
        _, mean, inv_std, reserve, kind = forward
        backward, wanted = aten._batch_norm_impl_index_backward, [True, True, True]
        return (
            lambda g, x, w, m, s: backward(
                kind, x, g, w, None, None, m, s, True, EPS, wanted, reserve
            ),
            (t["grad_output"], x, weight, mean, inv_std),
            None,
        )


class TorchCompiledOnDevice(TorchOnDevice):
    """The same through ``torch.compile``; one compilation serves all buffers of a case."""

    def __init__(self) -> None:
        super().__init__()
        self.case: Case | None = None
        self.compiled_function: Callable[..., Any] | None = None

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile the function of the first buffer; those of the others are the same."""
        if self.compiled_function is None:
            self.compiled_function = self.torch.compile(function, dynamic=False)
        return self.compiled_function

    def prepare(self, case: Case, data: Any) -> Any:
        if self.case is not case:
            # Without this the ninth shape would silently run uncompiled.
            self.torch.compiler.reset()
            self.case, self.compiled_function = case, None
        return super().prepare(case, data)

    def _batch_norm(self, case: Case, t: dict[str, Any]) -> Any:
        """Skip autograd's choice: Inductor knows the plain gradient and writes its own kernels."""
        return TorchPeer._batch_norm(self, case, t)


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
        arrays: Any = data.for_jax(self.jax)
        if case.op == "dropout":
            function, arguments, _ = self._dropout(case, arrays)
        else:
            function, arguments = self._norm(case, arrays)
        if self.case is not case:
            self.case, self.jitted = case, self.jax.jit(function)
        return partial(self.jitted, *arguments)


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
