"""The same PyTorch functions through ``torch.compile``, one compilation per case."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import CaseData
from normdrop.benchmark.operations import Call
from normdrop.benchmark.peers import Unsupported, Work
from normdrop.benchmark.peers.torch_peer import TorchPeer

RECORDED = "has no function for this backward pass, only what autograd recorded"


def create(threads: int) -> TorchCompilePeer:
    """Make the adapter, limited to so many threads."""
    # Compile in this process: a pool of compiler processes would outlive a Ctrl-C.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    return TorchCompilePeer(threads)


class TorchCompilePeer(TorchPeer):
    """Static shapes, default mode."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        # Without this the ninth shape would silently run uncompiled.
        self.torch.compiler.reset()
        return super().prepare(case, data)

    def compiled(self, call: Call) -> Callable[..., Any]:
        """Compile for the shapes of the first call."""
        if call.recorded:
            raise Unsupported(RECORDED)
        compiled: Callable[..., Any] = self.torch.compile(call.function, dynamic=False)
        return compiled
