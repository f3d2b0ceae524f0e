"""Direct a benchmark: the same case in every process, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import normdrop
from normdrop.benchmark import machine
from normdrop.benchmark.case_run import CaseRun, MeasuringFailed, Settings
from normdrop.benchmark.cases import PEER_NAMES, Case, select_cases
from normdrop.benchmark.peers import OURS, missing_packages
from normdrop.benchmark.results import Report, Row
from normdrop.benchmark.session import Workers

Progress = Callable[[int, int, str], None]

# Arrays alive in one worker at the worst moment: inputs, outputs and NumPy's temporaries.
_ARRAYS_PER_WORKER = 5
_SHARE_OF_MEMORY = 0.7


QUICK_ROUNDS = 7
QUICK_SECONDS = 0.25
_LONGEST_QUICK_SECONDS = 25.0
# Compiling takes torch.compile longer than everything else in a quick run together.
_QUICK_PEERS = ("numpy", "torch", "jax", "onnxruntime")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; ``report`` holds the cases that were finished by then."""

    def __init__(self, report: Report) -> None:
        super().__init__("bench: interrupted")
        self.report = report


def default_threads() -> int:
    """Count the threads that the package uses here."""
    return int(normdrop.get_num_threads())


def installed_peers(wanted: Sequence[str] = PEER_NAMES) -> list[str]:
    """Return those of the wanted peers whose packages are installed."""
    return [name for name in wanted if not missing_packages(name)]


def run_quick(progress: Progress | None = None) -> Report:
    """Measure a few telling cases against NumPy and the installed frameworks, in about 30 s.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(done, total, text)`` before every case and at the end.

    Returns
    -------
    Report
        ``rows`` hold ``case``, ``ours_ms``, ``share_of_copy`` and ``peers``, whose cells hold
        ``ms`` and ``ratio`` (the peer's time over ours); ``to_dict()`` gives plain types.

    Examples
    --------
    >>> from normdrop import benchmark
    >>> report = benchmark.run_quick()  # doctest: +SKIP
    >>> report.rows[0].peers["numpy"].ratio  # doctest: +SKIP
    18.3
    """
    settings = Settings(default_threads(), QUICK_ROUNDS, QUICK_SECONDS, _LONGEST_QUICK_SECONDS)
    cases = select_cases(quick=True)
    return run(cases, installed_peers(_QUICK_PEERS), settings, progress)


def run(
    cases: Sequence[Case],
    against: Sequence[str],
    settings: Settings,
    progress: Progress | None = None,
) -> Report:
    """Measure cases against peers.

    Parameters
    ----------
    cases : sequence of Case
        From `select_cases`.
    against : sequence of str
        Names of peers; who is not installed is reported as unavailable.
    settings : Settings
        Threads and time.
    progress : callable, optional
        Called as ``progress(done, total, text)`` before every case and at the end.

    Raises
    ------
    Interrupted
        After Ctrl-C: a `KeyboardInterrupt` whose ``report`` holds the finished cases.
    MeasuringFailed
        Where this package itself could not be measured; likewise with a ``report``.
    """
    running = _Run(cases, against, settings, progress or (lambda done, total, text: None))
    try:
        running.measure()
    except KeyboardInterrupt as interruption:
        raise Interrupted(running.report("the run was interrupted")) from interruption
    except MeasuringFailed as failure:
        failure.report = running.report("the run failed")
        raise
    return running.report()


class _Run:
    """A run and what it found until now."""

    def __init__(
        self, cases: Sequence[Case], against: Sequence[str], settings: Settings, tell: Progress
    ) -> None:
        self.cases, self.against, self.settings, self.tell = cases, against, settings, tell
        self.began = time.monotonic()
        # Before the first worker starts: the load average tells whether others are at work here.
        self.machine = machine.describe_machine()
        self.workers = Workers()
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}

    def measure(self) -> None:
        """Measure one case after the other; leaving by an exception ends the workers at once."""
        installed = [OURS, *installed_peers(self.against)]
        with self.workers as workers:
            self.tell(0, len(self.cases), "loading " + ", ".join(installed))
            workers.start(installed, self.settings.threads)
            if OURS in workers.unavailable:
                raise MeasuringFailed(f"bench: the worker failed: {workers.unavailable[OURS]}")
            for index, case in enumerate(self.cases):
                reason = _reason_to_skip(case, len(workers.running), self.settings, self.began)
                if reason is not None:
                    self.skipped[case.name] = reason
                    continue
                self.tell(index, len(self.cases), case.name)
                self.rows.append(CaseRun(case, workers, self.settings).measure(self.against))
            self.tell(len(self.cases), len(self.cases), "done")

    def report(self, end: str | None = None) -> Report:
        """Put together what was found; for the reason ``end``, all further cases were skipped."""
        skipped = dict(self.skipped)
        if end is not None:
            known = {*skipped, *(row.case for row in self.rows)}
            left = (case.name for case in self.cases if case.name not in known)
            skipped.update(dict.fromkeys(left, end))
        missing = {name: missing_packages(name) for name in self.against}
        absent = {name: f"{found[0]} is not installed" for name, found in missing.items() if found}
        return Report(
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            commit=machine.describe_commit(),
            machine=self.machine,
            versions={**machine.describe_versions(), **self.workers.versions},
            settings={**asdict(self.settings), **_build()},
            rows=self.rows,
            unavailable={**self.workers.unavailable, **absent},
            skipped=skipped,
            interrupted=end is not None,
        )


def _build() -> dict[str, Any]:
    """Tell the active backend and how the package was compiled."""
    config = normdrop.show_config("dict")
    return {name: config[name] for name in ("backend", "compiler", "build_type")}


def _reason_to_skip(case: Case, workers: int, settings: Settings, began: float) -> str | None:
    longest = settings.longest_seconds
    if longest is not None and time.monotonic() - began > longest:
        return f"no case is begun after {longest:g} s"
    needed = case.array_bytes * workers * _ARRAYS_PER_WORKER
    available = machine.available_memory()
    if needed > _SHARE_OF_MEMORY * available:
        return f"needs {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are available"
    return None
