"""How long a call takes on a machine whose cores other programs want, by threads.

    python bench/busy_machine.py
    python bench/busy_machine.py --spinners 0 --threads 1 4
    python bench/busy_machine.py --shape 512 64 --seconds 20 --json busy.json

Beside this process as many others as the machine has processors (or ``--spinners``) compute without
end. Calls of layer norm are timed one by one, the numbers of threads taking turns of a quarter of a
second, so that all of them meet the same load. Shown are the shortest call, the median, the 99th
percentile and the mean of all calls, and the last three over those of the first number of threads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import normdrop as nd

TURN_SECONDS = 0.25
SETTLING_SECONDS = 0.5  # until the system has spread the spinning processes over the processors


def spin() -> None:
    while True:
        pass


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that compute without end."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        time.sleep(SETTLING_SECONDS)
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def times_of_turn(x: np.ndarray, out: np.ndarray, threads: int) -> list[float]:
    """Seconds of each call during one turn."""
    times = []
    with nd.num_threads(threads):
        nd.layer_norm(x, out=out)
        end = time.perf_counter() + TURN_SECONDS
        start = 0.0
        while start < end:
            start = time.perf_counter()
            nd.layer_norm(x, out=out)
            times.append(time.perf_counter() - start)
    return times


def measure(shape: tuple[int, ...], numbers: list[int], seconds: float) -> dict[int, np.ndarray]:
    """Sorted times of all calls, by number of threads."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    out = np.empty_like(x)
    times: dict[int, list[float]] = {threads: [] for threads in numbers}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for threads in numbers:
            times[threads] += times_of_turn(x, out, threads)
    return {threads: np.sort(of_calls) for threads, of_calls in times.items()}


MEASURES = ("median", "percentile_99", "mean")


def summary(times: dict[int, np.ndarray]) -> list[dict[str, float]]:
    """A row for each number of threads, in microseconds; ratios are over the first."""
    rows: list[dict[str, float]] = []
    for threads, of_calls in times.items():
        values = (*np.quantile(of_calls, (0.5, 0.99)), of_calls.mean())
        row = {"threads": threads, "calls": len(of_calls), "least": 1e6 * float(of_calls[0])}
        row |= {name: 1e6 * float(value) for name, value in zip(MEASURES, values, strict=True)}
        first = rows[0] if rows else row
        row |= {f"{name}_ratio": row[name] / first[name] for name in MEASURES}
        rows.append(row)
    return rows


def print_rows(rows: list[dict[str, float]]) -> None:
    print("threads    calls  least us  median us     99 % us    mean us   ratios")
    for row in rows:
        ratios = " ".join(f"{row[f'{name}_ratio']:6.2f}" for name in MEASURES)
        print(f"{row['threads']:7} {row['calls']:8} {row['least']:9.1f} {row['median']:10.1f} "
              f"{row['percentile_99']:11.1f} {row['mean']:10.1f}   {ratios}")  # fmt: skip


def arguments() -> argparse.Namespace:
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs="+", default=[1024, 1024])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, processors])
    parser.add_argument("--spinners", type=int, default=processors)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with spinning(options.spinners):
        rows = summary(measure(tuple(options.shape), options.threads, options.seconds))
    print(f"layer_norm {tuple(options.shape)} float32, {options.spinners} processes beside it")
    print_rows(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
