"""CuPy: its own reductions, and one elementwise kernel for each formula.

A formula is written once, in what C++ and Python have in common, so that a dry run can evaluate it
with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpu_check.data import DeviceData
from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import DROP_PROBABILITY, EPS, operation_of
from normdrop.benchmark.peers import Unsupported

_SCALE = 1 / (1 - DROP_PROBABILITY)
_NORMALISE = "(x - mean) * inv_std * weight + bias"
_GRADIENT = "inv_std * (grad * weight - mean_grad - (x - mean) * inv_std * mean_product)"


class CupyPeer:
    """Arrays come through DLPack without a copy; float32 only, CuPy has no bfloat16."""

    def __init__(self, module: Any) -> None:
        self.cupy = module

    def call(self, case: Case, data: DeviceData) -> Callable[[], Any]:
        """Return the call of a case."""
        if case.dtype != "float32":
            raise Unsupported(f"no arrays of {case.dtype}")
        build = {"dropout": self._dropout, "layer_norm": self._norm, "batch_norm": self._norm}
        if case.op not in build:
            raise Unsupported(f"no {case.op} of CuPy is known")
        return build[case.op](case, data.for_cupy(self.cupy))

    def kernel(self, names: str, formula: str) -> Callable[..., Any]:
        """Compile a formula of float32 arrays that broadcast against each other."""
        if not hasattr(self.cupy, "ElementwiseKernel"):
            code = compile(formula, "formula", "eval")
            listed = names.split()
            return lambda *arrays: eval(
                code, {"sqrt": self.cupy.sqrt}, dict(zip(listed, arrays, strict=True))
            )
        arguments = ", ".join(f"T {name}" for name in names.split())
        kernel: Callable[..., Any] = self.cupy.ElementwiseKernel(
            arguments, "T result", f"result = {formula}", "formula"
        )
        return kernel

    def _dropout(self, case: Case, d: Any) -> Callable[[], Any]:
        cupy, scale = self.cupy, self.cupy.float32(_SCALE)
        drop = self.kernel("x kept scale", "x * kept * scale")
        kept = (cupy.random.random(d.x.shape) >= DROP_PROBABILITY).astype(cupy.float32)
        if case.direction == "backward":
            return lambda: drop(d.grad_output, kept, scale)
        random = cupy.random.default_rng(7).random
        choose = self.kernel("x word scale p", "x * (word >= p) * scale")
        p = cupy.float32(DROP_PROBABILITY)
        return lambda: choose(d.x, random(d.x.shape, dtype=cupy.float32), scale, p)

    def _norm(self, case: Case, d: Any) -> Callable[[], Any]:
        geometry = operation_of(case).geometry
        assert geometry is not None
        _, axes, others, shape, *_ = geometry(case)
        weight, bias = d.weight.reshape(shape), d.bias.reshape(shape)
        normalise = self.kernel("x mean inv_std weight bias", _NORMALISE)
        inverse = self.kernel("var eps", "1 / sqrt(var + eps)")
        eps = self.cupy.float32(EPS)

        def statistics() -> tuple[Any, Any]:
            mean, var = d.x.mean(axes, keepdims=True), d.x.var(axes, keepdims=True)
            return mean, inverse(var, eps)

        if case.direction == "forward":
            return lambda: normalise(d.x, *statistics(), weight, bias)
        if case.direction == "inference":
            mean, var = d.running_mean.reshape(shape), d.running_var.reshape(shape)
            return lambda: normalise(d.x, mean, inverse(var, eps), weight, bias)
        return self._backward(d, *statistics(), weight, axes, others)

    def _backward(
        self, d: Any, mean: Any, inv_std: Any, weight: Any, axes: Any, others: Any
    ) -> Callable[[], Any]:
        product = self.kernel("grad x mean inv_std", "grad * (x - mean) * inv_std")
        names = "grad x mean inv_std weight mean_grad mean_product"
        gradient = self.kernel(names, _GRADIENT)

        def backward() -> tuple[Any, Any, Any]:
            grad, x = d.grad_output, d.x
            along = product(grad, x, mean, inv_std)
            means = ((array * weight).mean(axes, keepdims=True) for array in (grad, along))
            grad_x = gradient(grad, x, mean, inv_std, weight, *means)
            return grad_x, along.sum(others), grad.sum(others)

        return backward

    def release(self) -> None:
        """Give idle memory back to the device."""
        if hasattr(self.cupy, "get_default_memory_pool"):
            self.cupy.get_default_memory_pool().free_all_blocks()
