"""One bench section: every case, ours and the peers in alternating rounds, next to a copy."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import normdrop as nd
from gpu_check import peers as peers_module
from gpu_check.card import Card, DryCard
from gpu_check.clock import EventClock, WallClock, calls_per_sample, event_clock
from gpu_check.data import DeviceData, buffers_of, estimated_bytes, make_data
from gpu_check.findings import FAILED, Findings, describe_error
from gpu_check.plan import cases_of, movement
from gpu_check.table import dry_line, heading, line
from normdrop.benchmark.cases import Case
from normdrop.benchmark.peers import Unsupported
from normdrop.benchmark.results import VARIANTS, Cell, Row, compare_cells, copy_speeds
from normdrop.benchmark.timing import Samples, summarise

Call = Callable[[], Any]
DRY_HEADING = (
    "  tiny cases on the host, NumPy in place of CuPy; their times mean nothing and are not shown"
)
_ROUNDS, _DRY_ROUNDS = 15, 2
_COPIES = ("copy_torch", "copy_normdrop")
# What compiles late in a case must not be begun when the time is nearly over.
_SECONDS_PER_CASE = 12.0


@dataclass
class Contender:
    """One thing that is timed: a call for every buffer, and how to time it."""

    clock: EventClock | WallClock
    works: list[Call]
    calls: int = 0
    samples: list[float] | None = None

    def summary(self) -> Samples:
        """Every sample is a round of its own, so that all of them are kept."""
        assert self.samples is not None
        return summarise([[sample] for sample in self.samples], self.calls)


def run_bench(bench: str, card: DryCard, against: Sequence[str], findings: Findings) -> None:
    """Time the cases of a section, as many as there is time for."""
    peers, findings.unavailable = peers_module.load_peers(against, card.dry)
    for name, reason in findings.unavailable.items():
        print(f"  {name} is left out: {reason}")
    print(DRY_HEADING if card.dry else heading(), flush=True)
    with nd.use_backend(card.backend):
        for case in cases_of(bench, tiny=card.dry):
            if findings.seconds_left() < (0 if card.dry else _SECONDS_PER_CASE):
                findings.skipped[case.name] = "out of time"
                continue
            try:
                row = CaseRun(case, card, peers).measure(findings.unavailable)
            except Exception as error:
                findings.add(case.name, FAILED, describe_error(error))
                continue
            findings.rows.append(row.to_dict())
            text = line(case, row)
            print(dry_line(row) if card.dry else text, flush=True)
            findings.save()
    findings.save()


class CaseRun:
    """One case with all its contenders."""

    def __init__(self, case: Case, card: DryCard, peers: dict[str, Any]) -> None:
        self.case = case
        self.card = card
        self.peers = peers
        self.missing: dict[str, str] = {}
        self.moved = movement(case)
        self.contenders: dict[str, Contender] = {}

    def measure(self, unavailable: dict[str, str]) -> Row:
        """Prepare, take all rounds, let go of the memory."""
        count = buffers_of(self.case, self.moved.bytes_moved) if not self.card.dry else 2
        buffers = [make_data(self.card, self.case, index) for index in range(count)]
        self._prepare(buffers)
        for index in range(_DRY_ROUNDS if self.card.dry else _ROUNDS):
            # Every other round backwards, so that nobody always follows the same neighbour.
            turns = list(self.contenders.items())
            for name, contender in turns if index % 2 == 0 else turns[::-1]:
                self._take(name, contender)
        row = self._row(unavailable)
        self.contenders.clear()
        del buffers
        self._release()
        return row

    def _prepare(self, buffers: Sequence[DeviceData]) -> None:
        clock = event_clock(self.card)
        of_buffers = [peers_module.ours(self.case, data) for data in buffers]
        for name in of_buffers[0]:
            self.contenders[name] = Contender(clock, [calls[name] for calls in of_buffers])
        for name, copy in (("copy_torch", _copy), ("copy_normdrop", _own_copy)):
            works = [partial(copy, data.out, data.x) for data in buffers]
            self.contenders[name] = Contender(clock, works)
        for contender in self.contenders.values():
            contender.calls = calls_per_sample(contender.clock, contender.works)
        for name, peer in self.peers.items():
            self._prepare_peer(name, peer, buffers)

    def _prepare_peer(self, name: str, peer: Any, buffers: Sequence[DeviceData]) -> None:
        try:
            works = [peer.call(self.case, data) for data in buffers]
            clock = WallClock(peer.jax.block_until_ready) if name == "jax" else self._clock()
            self.contenders[name] = Contender(clock, works, calls_per_sample(clock, works))
        except Unsupported as reason:
            self.missing[name] = str(reason)
        except Exception as error:
            self.missing[name] = describe_error(error)

    def _clock(self) -> EventClock | WallClock:
        return self.contenders["fresh"].clock

    def _take(self, name: str, contender: Contender) -> None:
        try:
            sample = contender.clock.sample(contender.works, contender.calls)
        except Exception as error:
            if name not in self.peers:
                raise
            self.missing[name] = describe_error(error)
            self.contenders.pop(name)
            return
        contender.samples = [*(contender.samples or []), sample]

    def _row(self, unavailable: dict[str, str]) -> Row:
        case = self.case
        summaries = {name: contender.summary() for name, contender in self.contenders.items()}
        reasons = {**unavailable, **self.missing}
        return Row.of_case(
            case,
            self.moved,
            variants={name: summaries[name] for name in VARIANTS if name in summaries},
            error_units=None,
            copy_gb_per_s=copy_speeds(case, {name: summaries[name] for name in _COPIES}),
            peers={
                name: compare_cells(summaries[name], summaries["fresh"], None)
                if name in summaries
                else Cell(missing=reasons.get(name, "not measured"))
                for name in (*self.peers, *unavailable)
            },
        )

    def _release(self) -> None:
        """Give memory back to the device: the next case may need all of it."""
        gc.collect()
        if isinstance(self.card, Card):
            self.card.cuda.empty_cache()
        cupy = self.peers.get("cupy")
        if cupy is not None:
            cupy.release()


def _copy(out: Any, x: Any) -> None:
    """PyTorch's copy on the device; NumPy's in a dry run."""
    out[...] = x


def _own_copy(out: Any, x: Any) -> None:
    """Our own: a dropout that drops nothing reads and writes every element once."""
    nd.dropout(x, 0.0, rng=0, out=out)


def describe_plan(bench: str, tiny: bool) -> list[str]:
    """List a section's cases, with the fewest bytes of a call and the memory they take."""
    lines = []
    for case in cases_of(bench, tiny):
        moved = movement(case)
        count = buffers_of(case, moved.bytes_moved)
        needed = estimated_bytes(case, count)
        lines.append(
            f"  {case.name:48} {moved.bytes_moved / 1e6:10.3f} MB a call, {count:2} buffers, "
            f"{needed / 1e9:6.2f} GB; {moved.reason}"
        )
    return lines
