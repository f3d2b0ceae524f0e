"""PyTorch, eager: the functions of ``torch.nn.functional`` and the gradients behind autograd."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

from normdrop.benchmark.cases import DROP_PROBABILITY, EPS, Case
from normdrop.benchmark.data import Array, CaseData
from normdrop.benchmark.peers import Work

# A function, its arguments, and the mask of a dropout backward.
_Parts = tuple[Callable[..., Any], tuple[Any, ...], Array | None]


def create(threads: int) -> TorchPeer:
    """Make the adapter, limited to so many threads."""
    return TorchPeer(threads)


class TorchPeer:
    """Without autograd: forward functions record nothing, gradients are called directly."""

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
        tensors = {name: self._tensor(case, value) for name, value in vars(data).items()}
        build = {"dropout": self._dropout, "layer_norm": self._layer_norm}
        function, arguments, keep = build.get(case.op, self._batch_norm)(case, tensors)
        call = partial(self.compiled(function), *arguments)
        return Work(call, partial(self._outputs, case), keep=keep)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is; the compiled peer overrides this."""
        return function

    def _tensor(self, case: Case, array: Array | None) -> Any:
        """Make a tensor in memory that PyTorch allocated, channels last where the case says so."""
        if array is None:
            return None
        tensor = self.torch.from_numpy(array)
        if case.layout == "nhwc" and array.ndim == 4:
            tensor = tensor.permute(0, 3, 1, 2)
        return tensor.clone(memory_format=self.torch.preserve_format)

    def _outputs(self, case: Case, result: Any) -> tuple[Array, ...]:
        tensors = result if isinstance(result, (tuple, list)) else (result,)
        last = case.layout == "nhwc"
        return tuple(
            (tensor.permute(0, 2, 3, 1) if last and tensor.ndim == 4 else tensor).numpy()
            for tensor in tensors
        )

    def _dropout(
        self, case: Case, t: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        aten = self.torch.ops.aten
        if case.direction == "forward":
            dropout = self.torch.nn.functional.dropout
            return lambda x: dropout(x, DROP_PROBABILITY, training=True), (t["x"],), None
        _, mask = aten.native_dropout(t["x"], DROP_PROBABILITY, True)
        scale = 1 / (1 - DROP_PROBABILITY)
        backward = aten.native_dropout_backward
        return lambda g, m: backward(g, m, scale), (t["grad_output"], mask), mask.cpu().numpy()

    def _layer_norm(
        self, case: Case, t: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        aten, shape = self.torch.ops.aten, [case.parameters]
        x, weight, bias = t["x"], t["weight"], t["bias"]
        if case.direction == "forward":
            layer_norm = self.torch.nn.functional.layer_norm
            return lambda x, w, b: layer_norm(x, shape, w, b), (x, weight, bias), None
        _, mean, inv_std = aten.native_layer_norm(x, shape, weight, bias, EPS)
        backward, wanted = aten.native_layer_norm_backward, [True, True, True]
        return (
            lambda g, x, m, s, w, b: backward(g, x, shape, m, s, w, b, wanted),
            (t["grad_output"], x, mean, inv_std, weight, bias),
            None,
        )

    def _batch_norm(
        self, case: Case, t: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        aten = self.torch.ops.aten
        batch_norm = self.torch.nn.functional.batch_norm
        x, weight, bias = t["x"], t["weight"], t["bias"]
        if case.direction == "inference":
            arguments = (x, t["running_mean"], t["running_var"], weight, bias)
            return lambda x, m, v, w, b: batch_norm(x, m, v, w, b, False, 0.1, EPS), arguments, None
        if case.direction == "forward":
            train = lambda x, w, b: batch_norm(x, None, None, w, b, True, 0.1, EPS)  # noqa: E731
            return train, (x, weight, bias), None
        _, mean, inv_std = aten.native_batch_norm(x, weight, bias, None, None, True, 0.1, EPS)
        backward, wanted = aten.native_batch_norm_backward, [True, True, True]
        return (
            lambda g, x, w, m, s: backward(g, x, w, None, None, m, s, True, EPS, wanted),
            (t["grad_output"], x, weight, mean, inv_std),
            None,
        )
