"""Direct a benchmark: the same case in every process, in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import normdrop
from normdrop.benchmark import machine
from normdrop.benchmark.cases import NORMS_AT_INFERENCE_ONLY, PEER_NAMES, Case, select_cases
from normdrop.benchmark.peers import OURS, missing_package
from normdrop.benchmark.results import Cell, Report, Row, compare_cells
from normdrop.benchmark.session import WorkerFailure, Workers
from normdrop.benchmark.timing import Samples, summarise

Progress = Callable[[int, int, str], None]

_COPIES = ("copy_plain", "copy_streaming")
_VARIANTS = ("fresh", "out", "kept")
_MOST_SAMPLES_PER_ROUND = 9
# Arrays alive in one worker at the worst moment: inputs, outputs and NumPy's temporaries.
_ARRAYS_PER_WORKER = 5
_SHARE_OF_MEMORY = 0.7


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes
    ----------
    threads : int
        For every library.
    rounds : int
        Turns that every library takes on every case.
    seconds : float
        Aimed at per library and case; a round takes at least one sample, however long.
    longest_seconds : float or None
        Begin no further case after so many seconds.
    """

    threads: int
    rounds: int = 9
    seconds: float = 1.0
    longest_seconds: float | None = None


QUICK_ROUNDS = 7
QUICK_SECONDS = 0.25
_LONGEST_QUICK_SECONDS = 25.0
# Compiling takes torch.compile longer than everything else in a quick run together.
_QUICK_PEERS = ("numpy", "torch", "jax", "onnxruntime")


def default_threads() -> int:
    """Count the threads that the package uses here."""
    return int(normdrop.get_num_threads())


def installed_peers(wanted: Sequence[str] = PEER_NAMES) -> list[str]:
    """Return those of the wanted peers whose packages are installed."""
    return [name for name in wanted if missing_package(name) is None]


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
    """
    tell = progress or (lambda done, total, text: None)
    began = time.monotonic()
    # Before the first worker starts: the load average tells whether others are at work here.
    description = machine.describe_machine()
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    installed = installed_peers(against)
    with Workers() as workers:
        tell(0, len(cases), "loading " + ", ".join((OURS, *installed)))
        workers.start([OURS, *installed], settings.threads)
        if OURS in workers.unavailable:
            raise RuntimeError(f"bench: the worker failed: {workers.unavailable[OURS]}")
        for index, case in enumerate(cases):
            reason = _reason_to_skip(case, len(workers.running), settings, began)
            if reason is not None:
                skipped[case.name] = reason
                continue
            tell(index, len(cases), case.name)
            rows.append(_CaseRun(case, workers, settings).measure(against))
        tell(len(cases), len(cases), "done")
        unavailable, versions = dict(workers.unavailable), dict(workers.versions)
    for name in against:
        package = missing_package(name)
        if package is not None:
            unavailable[name] = f"{package} is not installed"
    return Report(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=machine.describe_commit(),
        machine=description,
        versions={**machine.describe_versions(), **versions},
        settings={**asdict(settings), **_build()},
        rows=rows,
        unavailable=unavailable,
        skipped=skipped,
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


class _CaseRun:
    """One case in all workers."""

    def __init__(self, case: Case, workers: Workers, settings: Settings) -> None:
        self.case = case
        self.workers = workers
        self.settings = settings
        self.missing: dict[str, str] = {}
        self.prepared: dict[str, dict[str, Any]] = {}

    def measure(self, against: Sequence[str]) -> Row:
        """Prepare the case everywhere, take all rounds, let go of it."""
        self._prepare()
        turns = self._turns()
        seconds: dict[tuple[str, str], list[list[float]]] = {turn: [] for turn in turns}
        for index in range(self.settings.rounds):
            # Every other round backwards, so that nobody always follows the same neighbour.
            for turn in turns if index % 2 == 0 else turns[::-1]:
                self._take_turn(turn, seconds)
        for name in list(self.prepared):
            self._ask(name, "release")
        return self._row(seconds, against)

    def _prepare(self) -> None:
        for name in list(self.workers.running):
            if name != OURS and name not in self.case.peers:
                self.missing[name] = NORMS_AT_INFERENCE_ONLY
                continue
            answer = self._ask(name, "prepare", case=self.case.name)
            if answer is not None:
                self.prepared[name] = answer

    def _turns(self) -> list[tuple[str, str]]:
        """(library, variant) in the order of an even round."""
        ours = [*_VARIANTS, *(_COPIES if self.case.measures_bandwidth else ())]
        peers = [(name, "fresh") for name in self.prepared if name != OURS]
        return [*((OURS, variant) for variant in ours), *peers]

    def _take_turn(
        self, turn: tuple[str, str], seconds: dict[tuple[str, str], list[list[float]]]
    ) -> None:
        name, variant = turn
        if name in self.missing:
            return
        prepared = self.prepared[name]
        one_sample = prepared["seconds"][variant] * prepared["calls"][variant]
        wanted = self.settings.seconds / self.settings.rounds / max(one_sample, 1e-9)
        count = int(min(max(wanted, 1), _MOST_SAMPLES_PER_ROUND))
        answer = self._ask(name, "sample", variant=variant, count=count)
        if answer is not None:
            seconds[turn].append(answer["seconds"])

    def _ask(self, name: str, do: str, **arguments: Any) -> dict[str, Any] | None:
        """Ask a worker; a peer that fails is left out of this case."""
        try:
            return self.workers.running[name].ask(do, **arguments)
        except WorkerFailure as failure:
            if name == OURS:
                raise RuntimeError(f"bench: {self.case.name}: {failure}") from failure
            self.missing[name] = str(failure)
            self._restart_if_dead(name)
            return None

    def _restart_if_dead(self, name: str) -> None:
        if self.workers.running[name].is_alive():
            return
        self.workers.running.pop(name).kill()
        self.workers.start([name], self.settings.threads)

    def _row(
        self, seconds: dict[tuple[str, str], list[list[float]]], against: Sequence[str]
    ) -> Row:
        case = self.case
        movement = case.movement(machine.read_caches(), self.settings.threads)
        summaries = {
            (name, variant): summarise(rounds, self.prepared[name]["calls"][variant])
            for (name, variant), rounds in seconds.items()
            if name not in self.missing
        }
        copies = {
            copy.removeprefix("copy_"): 2e-9 * case.array_bytes / summaries[OURS, copy].median
            for copy in _COPIES
            if (OURS, copy) in summaries
        }
        return Row(
            case=case.name,
            op=case.op,
            direction=case.direction,
            shape=case.shape,
            layout=case.layout,
            dtype=case.dtype,
            bytes_moved=movement.bytes_moved,
            bytes_reason=movement.reason,
            variants={variant: summaries[OURS, variant] for variant in _VARIANTS},
            error_units=self._error_units(OURS),
            copy_gb_per_s=copies,
            peers={name: self._cell(name, summaries) for name in against},
        )

    def _cell(self, name: str, summaries: dict[tuple[str, str], Samples]) -> Cell:
        if (name, "fresh") not in summaries:
            unavailable = self.workers.unavailable.get(name, "not installed")
            return Cell(missing=self.missing.get(name, unavailable))
        ours = summaries[OURS, "fresh"]
        return compare_cells(summaries[name, "fresh"], ours, self._error_units(name))

    def _error_units(self, name: str) -> float | None:
        error = self.prepared[name]["error_units"]
        return None if error is None else float(error)
