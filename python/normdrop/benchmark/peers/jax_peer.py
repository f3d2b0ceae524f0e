"""JAX: the plain formulas under ``jax.jit`` on the CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from normdrop.benchmark.cases import DROP_PROBABILITY, EPS, Case
from normdrop.benchmark.data import Array, CaseData
from normdrop.benchmark.peers import Work


def create(threads: int) -> JaxPeer:
    """Make the adapter, limited to so many threads."""
    _limit_threads(threads)
    return JaxPeer()


def _limit_threads(threads: int) -> None:
    """Leave XLA only so many processors: it sizes its pool by them."""
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if threads < len(allowed):
            os.sched_setaffinity(0, allowed[:threads])


class JaxPeer:
    """Statistics are kept from the forward pass, as autodiff would keep them."""

    def __init__(self) -> None:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        self.jax: Any = importlib.import_module("jax")
        self.jnp: Any = importlib.import_module("jax.numpy")
        # float64 cases need it; float32 arrays stay float32.
        self.jax.config.update("jax_enable_x64", True)

    def version(self) -> str:
        """Tell the version of the library."""
        return str(self.jax.__version__)

    def drop_caches(self) -> None:
        """Do nothing: XLA's CPU client keeps no pool of outputs."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        if case.op == "dropout":
            function, arguments, keep = self._dropout(case, data)
        else:
            function, arguments = self._norm(case, data)
            keep = None
        compiled, ready = self.jax.jit(function), self.jax.block_until_ready
        return Work(lambda: ready(compiled(*arguments)), _outputs, keep=keep)

    def _dropout(
        self, case: Case, data: CaseData
    ) -> tuple[Callable[..., Any], tuple[Any, ...], Array | None]:
        jax, jnp = self.jax, self.jnp
        key = jax.random.key(2014)
        # A float32 probability: a Python number would draw float64 uniforms.
        keep_probability = np.float32(1 - DROP_PROBABILITY)
        scale = data.x.dtype.type(1 / (1 - DROP_PROBABILITY))

        def forward(key: Any, x: Any) -> Any:
            keep = jax.random.bernoulli(key, keep_probability, x.shape)
            return jnp.where(keep, x * scale, 0)

        def backward(keep: Any, grad_output: Any) -> Any:
            return jnp.where(keep, grad_output * scale, 0)

        if case.direction == "forward":
            return forward, (key, jnp.asarray(data.x)), None
        keep = jax.random.bernoulli(key, keep_probability, data.x.shape)
        return backward, (keep, jnp.asarray(data.grad_output)), np.asarray(keep)

    def _norm(self, case: Case, data: CaseData) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        jnp = self.jnp
        rank = len(case.memory_shape)
        own = rank - 1 if case.layout == "rows" else case.channel_axis % rank
        others = tuple(axis for axis in range(rank) if axis != own)
        axes = (own,) if case.layout == "rows" else others
        shape = tuple(case.parameters if axis == own else 1 for axis in range(rank))

        def statistics(x: Any) -> tuple[Any, Any]:
            mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
            return mean, 1 / jnp.sqrt(var + EPS)

        def forward(x: Any, weight: Any, bias: Any) -> Any:
            mean, inv_std = statistics(x)
            return (x - mean) * inv_std * weight.reshape(shape) + bias.reshape(shape)

        def inference(x: Any, mean: Any, var: Any, weight: Any, bias: Any) -> Any:
            factor = weight / jnp.sqrt(var + EPS)
            return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)

        def backward(grad_output: Any, x: Any, mean: Any, inv_std: Any, weight: Any) -> Any:
            normalised = (x - mean) * inv_std
            grad = grad_output * weight.reshape(shape)
            mean_grad = grad.mean(axes, keepdims=True)
            mean_product = (grad * normalised).mean(axes, keepdims=True)
            grad_x = inv_std * (grad - mean_grad - normalised * mean_product)
            return grad_x, (grad_output * normalised).sum(others), grad_output.sum(others)

        arrays = {k: None if v is None else jnp.asarray(v) for k, v in vars(data).items()}
        x, weight, bias = arrays["x"], arrays["weight"], arrays["bias"]
        if case.direction == "forward":
            return forward, (x, weight, bias)
        if case.direction == "inference":
            return inference, (x, arrays["running_mean"], arrays["running_var"], weight, bias)
        mean, inv_std = self.jax.jit(statistics)(x)
        return backward, (arrays["grad_output"], x, mean, inv_std, weight)


def _outputs(result: Any) -> tuple[Array, ...]:
    results = result if isinstance(result, tuple) else (result,)
    return tuple(np.asarray(item) for item in results)
