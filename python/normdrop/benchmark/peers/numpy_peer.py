"""NumPy as one would write it down: whole-array expressions in the data's own dtype."""

from __future__ import annotations

import numpy as np

from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import CaseData
from normdrop.benchmark.operations import peer_builder
from normdrop.benchmark.peers import Unsupported, Work, work_of


def create(threads: int) -> NumpyPeer:
    """Make the adapter; element-wise NumPy runs on one thread whatever is allowed."""
    return NumpyPeer()


class NumpyPeer:
    """Straightforward vectorised formulas."""

    def version(self) -> str:
        """Tell the version of the library."""
        return np.__version__

    def drop_caches(self) -> None:
        """Do nothing: NumPy recycles small memory only."""

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        if case.dtype == "bfloat16":
            raise Unsupported("computes nothing in bfloat16 itself")
        return work_of(peer_builder(case, "numpy")(np, case, data))
