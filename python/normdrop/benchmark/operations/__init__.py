"""The operations that are measured, one record each; a new one is an entry of `OPERATIONS`.

A record says how arrays are made, what has to be moved, and how this package and the others are
called; benchmark, sweep and the check on a GPU ask nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from normdrop.benchmark.operations.channel_norms import BATCH_NORM, GROUP_NORM, INSTANCE_NORM
from normdrop.benchmark.operations.fused import DROPOUT_ADD_LAYER_NORM, DROPOUT_ADD_RMS_NORM
from normdrop.benchmark.operations.noise import FAMILY
from normdrop.benchmark.operations.record import (
    DROP_PROBABILITY,
    EPS,
    Builder,
    Call,
    Input,
    Operation,
    Set,
    Traffic,
    arrays_of,
)
from normdrop.benchmark.operations.rows import LAYER_NORM, RMS_NORM
from normdrop.benchmark.operations.weights import PRELU, WEIGHT_NORM

if TYPE_CHECKING:
    from normdrop.benchmark.cases import Case

__all__ = [
    "DROP_PROBABILITY",
    "EPS",
    "OPERATIONS",
    "Builder",
    "Call",
    "Input",
    "Operation",
    "Set",
    "Traffic",
    "Unsupported",
    "arrays_of",
    "operation_of",
    "peer_builder",
]

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        *FAMILY,
        LAYER_NORM,
        RMS_NORM,
        BATCH_NORM,
        GROUP_NORM,
        INSTANCE_NORM,
        DROPOUT_ADD_LAYER_NORM,
        DROPOUT_ADD_RMS_NORM,
        WEIGHT_NORM,
        PRELU,
    )
}


class Unsupported(Exception):
    """The library cannot do this case; the text says why."""


def operation_of(case: Case) -> Operation:
    """Return the record of a case's operation; a ValueError where there is none."""
    operation = OPERATIONS.get(case.op)
    if operation is None:
        raise ValueError(f"bench: op must be one of {', '.join(OPERATIONS)}, got {case.op!r}")
    if case.direction not in operation.traffic:
        directions = ", ".join(operation.traffic)
        raise ValueError(
            f"bench: direction of {case.op} must be one of {directions}, got {case.direction!r}"
        )
    return operation


def peer_builder(case: Case, *libraries: str) -> Builder:
    """Return how the first of these libraries that can do so builds the call of a case."""
    peers = operation_of(case).peers
    for library in libraries:
        if library in peers:
            return peers[library]
    raise Unsupported(f"no {case.op} of {libraries[-1]} is known")
