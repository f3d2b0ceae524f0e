"""One case of a benchmark: prepared everywhere, measured in alternating rounds, made a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from normdrop.benchmark import machine
from normdrop.benchmark.cases import NORMS_AT_INFERENCE_ONLY, Case
from normdrop.benchmark.operations import operation_of
from normdrop.benchmark.peers import OURS
from normdrop.benchmark.results import VARIANTS, Cell, Report, Row, compare_cells, copy_speeds
from normdrop.benchmark.session import WorkerFailure, Workers
from normdrop.benchmark.timing import Samples, summarise

_COPIES = ("copy_plain", "copy_streaming")
_MOST_SAMPLES_PER_ROUND = 9


class MeasuringFailed(RuntimeError):
    """Our own library could not be measured; the text says why.

    ``report`` holds the cases that were finished, where a run had begun.
    """

    report: Report | None = None


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
    fresh_only : bool
        Times of fresh outputs alone: no other variants, no copies, no errors.
    """

    threads: int
    rounds: int = 9
    seconds: float = 1.0
    longest_seconds: float | None = None
    fresh_only: bool = False


class CaseRun:
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
                self.missing[name] = self._why_unknown(name)
                continue
            answer = self._ask(
                name, "prepare", case=asdict(self.case), judge=not self.settings.fresh_only
            )
            if answer is not None:
                self.prepared[name] = answer

    def _why_unknown(self, name: str) -> str:
        if name == "onnxruntime" and operation_of(self.case).onnx:
            return NORMS_AT_INFERENCE_ONLY
        return f"no {self.case.op} of it is known"

    def _turns(self) -> list[tuple[str, str]]:
        """(library, variant) in the order of an even round."""
        known = self.prepared[OURS]["seconds"]
        ours = [variant for variant in VARIANTS if variant in known]
        ours += _COPIES if self.case.measures_bandwidth else ()
        if self.settings.fresh_only:
            ours = ["fresh"]
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
                raise MeasuringFailed(f"bench: {self.case.name}: {failure}") from failure
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
        ours = {variant: times for (name, variant), times in summaries.items() if name == OURS}
        return Row.of_case(
            case,
            movement,
            variants={variant: ours[variant] for variant in VARIANTS if variant in ours},
            error_units=self._error_units(OURS),
            copy_gb_per_s=copy_speeds(case, {copy: ours[copy] for copy in _COPIES if copy in ours}),
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
