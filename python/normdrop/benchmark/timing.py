"""Timing of one callable, and the summary of its samples."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# A sample lasts at least this long, so that the clock and the loop do not count.
SHORTEST_SAMPLE_SECONDS = 2e-3
_MOST_CALLS = 100_000
# Calls longer than this need no second warm-up: they leave no cache warm anyway.
LONG_CALL_SECONDS = 20e-3


@dataclass(frozen=True)
class Samples:
    """Summary of the seconds per call of all samples.

    Attributes
    ----------
    median, lower_quartile, upper_quartile, fastest, slowest : float
        Over all samples, seconds per call.
    count : int
        Number of samples; one sample is the mean of a batch of calls.
    calls : int
        Calls per sample.
    rounds : tuple of float
        Median of each round, in order.
    """

    median: float
    lower_quartile: float
    upper_quartile: float
    fastest: float
    slowest: float
    count: int
    calls: int
    rounds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Distance of the quartiles over the median."""
        return (self.upper_quartile - self.lower_quartile) / self.median

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Samples:
        """Invert `to_dict`."""
        return cls(**{**fields, "rounds": tuple(fields["rounds"])})


def summarise(rounds: Sequence[Sequence[float]], calls: int) -> Samples:
    """Summarise samples that were taken in several rounds."""
    every = [sample for one_round in rounds for sample in one_round]
    lower, median, upper = quartiles(every)
    return Samples(
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
        fastest=min(every),
        slowest=max(every),
        count=len(every),
        calls=calls,
        rounds=tuple(statistics.median(one_round) for one_round in rounds),
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median, upper quartile; all the same for a single value."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, median, upper


def time_batch(call: Callable[[], Any], calls: int) -> float:
    """Measure seconds per call of a batch; each result is dropped before the next call begins."""
    repeats = range(calls)
    start = time.perf_counter()
    for _ in repeats:
        call()
    return (time.perf_counter() - start) / calls


def time_batch_kept(call: Callable[[], Any], calls: int) -> float:
    """Measure seconds per call of a batch whose results all stay alive: no memory is recycled."""
    kept: list[Any] = [None] * calls
    repeats = range(calls)
    start = time.perf_counter()
    for i in repeats:
        kept[i] = call()
    return (time.perf_counter() - start) / calls


def calibrate(call: Callable[[], Any]) -> tuple[int, float]:
    """Find the calls per sample, and about how many seconds a call takes, after a warm-up."""
    seconds = time_batch(call, 1)
    calls = 1
    while calls * seconds < SHORTEST_SAMPLE_SECONDS and calls < _MOST_CALLS:
        wanted = int(1.2 * SHORTEST_SAMPLE_SECONDS / max(seconds, 1e-9)) + 1
        calls = min(_MOST_CALLS, wanted, 16 * calls)
        seconds = time_batch(call, calls)
    return calls, seconds


def take_samples(
    sample: Callable[[], float], count: int, warm_up: Callable[[], Any] | None
) -> list[float]:
    """Take samples with the garbage collector held back."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        if warm_up is not None:
            warm_up()
        return [sample() for _ in range(count)]
    finally:
        if was_enabled:
            gc.enable()


def wait_until_idle(longest_seconds: float = 0.5) -> None:
    """Wait until this process stops using the processor.

    Thread pools spin for a while after the work is done; the next process measured would
    pay for it. Where a pool never stops, the wait ends after ``longest_seconds``.
    """
    end = time.perf_counter() + longest_seconds
    pause = 4e-3
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(pause)
        if time.process_time() - before < 0.25 * pause:
            return
