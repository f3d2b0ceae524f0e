"""JAX: the plain formulas under ``jax.jit`` on the CPU."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import CaseData
from normdrop.benchmark.operations import Call, peer_builder
from normdrop.benchmark.peers import Work, work_of


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
        call, ready = self.call_of(case, data), self.jax.block_until_ready
        compiled = self.jax.jit(call.function)
        return work_of(call, lambda *arguments: ready(compiled(*arguments)), np.asarray)

    def call_of(self, case: Case, data: Any) -> Call:
        """Build the call of a case, not compiled yet."""
        arrays = {name: self.jnp.asarray(value) for name, value in vars(data).items()}
        return peer_builder(case, "jax")(self.jnp, case, SimpleNamespace(**arrays))
