"""The package itself, measured like the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import normdrop
from normdrop import _core
from normdrop.benchmark.cases import Case
from normdrop.benchmark.data import CaseData
from normdrop.benchmark.operations import operation_of
from normdrop.benchmark.peers import Work, work_of


def create(threads: int) -> Ours:
    """Make the adapter, limited to so many threads."""
    normdrop.set_num_threads(threads)
    return Ours()


class Ours:
    """Calls the public functions with their default settings."""

    def version(self) -> str:
        """Tell the version of the library."""
        return f"{normdrop.__version__} ({normdrop.show_config('dict')['backend']})"

    def drop_caches(self) -> None:
        """Give recycled memory back."""
        normdrop.release_pool()

    def prepare(self, case: Case, data: CaseData) -> Work:
        """Build the work of a case."""
        operation = operation_of(case)
        work = work_of(operation.ours(normdrop, case, data))
        # Written, so that its pages are there: the first call would pay for them.
        target = np.full_like(data.x, 0)
        copy = partial(_core.copy_bandwidth_kernel, target, data.x)
        variants = {"copy_plain": partial(copy, False), "copy_streaming": partial(copy, True)}
        if case.direction not in operation.without_out:
            call: Any = work.call
            variants["out"] = partial(call, out=target)
        return replace(work, variants=variants)
