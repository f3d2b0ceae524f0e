"""Two streams at once, graphs that are captured and replayed, and what happens after an error."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import normdrop as nd
from gpu_check.bits import require_same_bits
from gpu_check.card import DryCard
from gpu_check.findings import Findings
from gpu_check.operations import Operations, P, Work, make_operations

Array = np.ndarray[Any, Any]

_SHAPE = (2048, 4096)
_TINY = (5, 24)
_REPEATS = 10


def check_safety(card: DryCard, findings: Findings) -> None:
    """Run every check on arrays of the device."""
    shape = _TINY if card.dry else _SHAPE
    with nd.use_backend(card.backend):
        first, second = make_operations(card, shape, 1), make_operations(card, shape, 2)
        findings.run("work waits for its stream", partial(_waits_for_its_stream, card, first))
        for name in first.works:
            works = (first.works[name], second.works[name])
            findings.run(f"two streams at once, {name}", partial(_two_streams, card, *works))
        for device in card.devices():
            findings.run(
                f"current device after work on device {device}", partial(_devices, card, device)
            )
        for who in card.endless():
            findings.run(f"memory of {who} runs out", partial(_memory_runs_out, card, who, first))
        # Graphs last: after a capture that failed, the process may be good for nothing.
        for name in first.works:
            findings.run(f"graph of {name}", partial(_graph, card, name, shape))
        findings.run("graph of dropout whose draw moves on", partial(_moving_graph, card, shape))


def _on_host(card: DryCard, results: tuple[Any, ...]) -> list[Array]:
    return [card.get(result) for result in results if result is not None]


def _require_same(got: list[Array], wanted: list[Array], what: str) -> None:
    for index, (one, other) in enumerate(zip(got, wanted, strict=True)):
        require_same_bits(one, other, f"{what}, result {index}")


def _waits_for_its_stream(card: DryCard, operations: Operations) -> None:
    """On a side stream x is written late; work given to that stream must see it."""
    values = np.random.default_rng(3).standard_normal(operations.x.shape, dtype=np.float32)
    card.overwrite(operations.x, values)
    wanted = _on_host(card, operations.works["layer norm"]())
    card.overwrite(operations.x, np.zeros_like(values))
    source = card.put(values)
    card.synchronise()
    with card.on(card.new_stream()):
        card.keep_busy()
        operations.x[...] = source
        results = operations.works["layer norm"]()
    card.synchronise()
    _require_same(_on_host(card, results), wanted, "after a late write")


def _two_streams(card: DryCard, first: Work, second: Work) -> str:
    """Workspace that two streams share would show."""
    wanted = [_on_host(card, work()) for work in (first, second)]
    streams = [card.new_stream(), card.new_stream()]
    results: list[tuple[Any, ...]] = []
    card.synchronise()
    for _ in range(_REPEATS):
        for stream, work in zip(streams, (first, second), strict=True):
            with card.on(stream):
                results.append(work())
    card.synchronise()
    for index, result in enumerate(results):
        _require_same(_on_host(card, result), wanted[index % 2], f"call {index}")
    return f"{len(results)} calls"


def _graph(card: DryCard, name: str, shape: tuple[int, int]) -> str:
    """Replay on new values of x, and compare with plain calls."""
    operations = make_operations(card, shape, 4)
    work = operations.works[name]
    replay, results = card.capture(work)
    for step in range(3):
        values = np.random.default_rng(step).standard_normal(shape, dtype=np.float32)
        card.overwrite(operations.x, values)
        replay()
        card.synchronise()
        _require_same(_on_host(card, results()), _on_host(card, work()), f"replay {step}")
    return "3 replays"


def _moving_graph(card: DryCard, shape: tuple[int, int]) -> str:
    """The graph counts the call on by itself; every replay has the mask of its own call."""
    operations = make_operations(card, shape, 5)
    draw, start = operations.draw, 2**32 - 2

    def dropout_and_count() -> tuple[Any, ...]:
        results = operations.works["dropout"]()
        card.advance(draw)
        return results

    replay, results = card.capture(dropout_and_count)
    # Capturing has warmed up, which counted on as well.
    card.set_draw(draw, 7, start)
    for call in range(start, start + 5):
        replay()
        card.synchronise()
        wanted = nd.dropout(operations.x, P, rng=(7, call))
        require_same_bits(card.get(results()[0]), card.get(wanted), f"call {call}")
    return "5 calls"


def _devices(card: DryCard, device: int) -> None:
    """Work on the arrays of a device leaves the caller's current device as it was."""
    with card.on_device(device):
        x = card.put(np.ones((3, 8), np.float32))
    before = card.current_device()
    nd.layer_norm(x)
    card.synchronise()
    if card.current_device() != before:
        raise AssertionError(f"was {before}, is {card.current_device()}")


def _memory_runs_out(card: DryCard, who: str, operations: Operations) -> str:
    """A MemoryError, and everything as before."""
    work = operations.works["layer norm"]
    wanted, before = _on_host(card, work()), card.current_device()
    try:
        nd.dropout(card.endless()[who], P, rng=1)
    except MemoryError as error:
        message = " ".join(str(error).split())[:100] or "without a text"
    else:
        raise AssertionError("no MemoryError")
    if card.current_device() != before:
        raise AssertionError(f"current device was {before}, is {card.current_device()}")
    _require_same(_on_host(card, work()), wanted, "afterwards")
    return message
