"""PyTorch, eager: the functions of ``torch.nn.functional`` and the gradients behind autograd."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import Array, CaseData
from normdrop.benchmark.operations import Call, peer_builder
from normdrop.benchmark.peers import Work, work_of


def create(threads: int) -> TorchPeer:
    """Make the adapter, limited to so many threads."""
    return TorchPeer(threads)


class TorchPeer:
    """Without autograd: forward functions record nothing, gradients are called directly.

    ``libraries`` are the names under which records hold how PyTorch is called, the best first.
    """

    libraries: tuple[str, ...] = ("torch",)

    def __init__(self, threads: int) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(threads)
        self.torch.set_grad_enabled(False)

    def version(self) -> str:
        """Tell the version of the library."""
        return str(self.torch.__version__)

    def drop_caches(self) -> None:
        """Do nothing: PyTorch's CPU allocator recycles what the C library recycles."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        call = self.call_of(case, data)
        return work_of(call, self.compiled(call), partial(self._array, case))

    def call_of(self, case: Case, data: Any) -> Call:
        """Build the call of a case on tensors."""
        tensors = {name: self._tensor(case, value) for name, value in vars(data).items()}
        return peer_builder(case, *self.libraries)(self.torch, case, SimpleNamespace(**tensors))

    def compiled(self, call: Call) -> Callable[..., Any]:
        """Return the function as it is; the compiled peer overrides this."""
        return call.function

    def _tensor(self, case: Case, array: Any) -> Any:
        """Make a tensor in memory that PyTorch allocated, channels last where the case says so."""
        tensor = channels_first(case, tensor_of(self.torch, array))
        return tensor.clone(memory_format=self.torch.preserve_format)

    def _array(self, case: Case, tensor: Any) -> Array:
        if case.layout == "nhwc" and tensor.ndim == len(case.shape):
            tensor = tensor.movedim(1, -1)
        if tensor.dtype == self.torch.bfloat16:
            bits: Array = tensor.view(self.torch.int16).numpy()
            return bits.view(ml_dtypes.bfloat16)
        array: Array = tensor.numpy()
        return array


def tensor_of(torch: Any, array: Array) -> Any:
    """View an array as a tensor; PyTorch does not know NumPy's bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def channels_first(case: Case, tensor: Any) -> Any:
    """View channels last as PyTorch names them: the same memory."""
    if case.layout == "nhwc" and tensor.ndim == len(case.shape):
        return tensor.movedim(-1, 1)
    return tensor
