"""Times of calls on the device: CUDA events behind a wait, so that the host does not count."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpu_check.card import Card, DryCard

Call = Callable[[], Any]

# A sample lasts about this long, on at most so many calls: a queue holds about 1000 kernels.
SAMPLE_SECONDS = 2e-3
MOST_CALLS = 50
# The clock of a GPU stays below this; waiting somewhat longer than needed costs nothing.
_CYCLES_PER_SECOND = 2e9
_WAIT_MARGIN = 1.3
_LONGEST_WAIT_SECONDS = 0.05


class WallClock:
    """Seconds of the host until ``wait`` returns: for JAX, whose streams take no events."""

    name = "wall"

    def __init__(self, wait: Callable[[Any], Any]) -> None:
        self.wait = wait

    def sample(self, works: Sequence[Call], calls: int) -> float:
        """Return seconds per call of a batch that takes turns on the works."""
        kept: list[Any] = [None] * len(works)
        start = time.perf_counter()
        for i in range(calls):
            kept[i % len(works)] = works[i % len(works)]()
        self.wait(kept)
        return (time.perf_counter() - start) / calls


class EventClock:
    """Seconds of the device between two events, with the whole batch queued behind a wait."""

    name = "events"

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda

    def sample(self, works: Sequence[Call], calls: int) -> float:
        """Return seconds per call; results of a turn stay alive, so that outputs rotate as well."""
        start, end = (self.cuda.Event(enable_timing=True) for _ in range(2))
        kept: list[Any] = [None] * len(works)
        queueing = min(self._host_seconds(works) * calls * _WAIT_MARGIN, _LONGEST_WAIT_SECONDS)
        self.cuda._sleep(int(queueing * _CYCLES_PER_SECOND))
        start.record()
        for i in range(calls):
            kept[i % len(works)] = works[i % len(works)]()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3 / calls

    def _host_seconds(self, works: Sequence[Call]) -> float:
        """Return what the host needs for one call, after one that may compile."""
        works[0]()
        self.cuda.synchronize()
        start = time.perf_counter()
        kept = [work() for work in works[:2]]
        seconds = (time.perf_counter() - start) / len(kept)
        self.cuda.synchronize()
        return seconds


def event_clock(card: DryCard) -> EventClock | WallClock:
    """Return the clock of libraries on PyTorch's current stream; the host's in a dry run."""
    return EventClock(card.cuda) if isinstance(card, Card) else WallClock(lambda kept: None)


def calls_per_sample(clock: EventClock | WallClock, works: Sequence[Call]) -> int:
    """Warm every work up, then choose how many calls make a sample: whole turns."""
    for _ in range(2):
        clock.sample(works, len(works))
    seconds = statistics.median(clock.sample(works, len(works)) for _ in range(3))
    turns = math.ceil(SAMPLE_SECONDS / max(seconds, 1e-9) / len(works))
    return max(1, min(turns, MOST_CALLS // len(works))) * len(works)
