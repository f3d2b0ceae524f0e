"""The process that measures one library: ``python -m normdrop.benchmark.worker``.

It reads one JSON request a line from its standard input and writes one JSON answer a line. What
libraries print goes to standard error. It ends with its input, so it cannot outlive its parent.

Requests: ``{"do": "start", "peer", "threads"}``, ``{"do": "prepare", "case", "judge"}``,
``{"do": "sample", "variant", "count"}`` and ``{"do": "release"}``. An answer holds ``failure``
with its text where the request could not be served.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from normdrop.benchmark import timing
from normdrop.benchmark.accuracy import worst_error
from normdrop.benchmark.cases import Case, find_case
from normdrop.benchmark.data import make_data
from normdrop.benchmark.peers import Peer, Work, load_peer

# Results that may be alive at a time in the "kept" variant.
KEPT_BYTES = 1024**3

Answer = dict[str, Any]


class Worker:
    """Serves the requests of one benchmark, for one library."""

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.case: Case | None = None
        self.calls: dict[str, Callable[[], Any]] = {}
        self.calls_per_sample: dict[str, int] = {}
        self.seconds: dict[str, float] = {}

    def answer(self, request: dict[str, Any]) -> Answer:
        """Serve one request; an exception of the library becomes a failure."""
        do = request.pop("do")
        try:
            serve: Callable[..., Answer] = getattr(self, f"do_{do}")
            return serve(**request)
        except Exception as error:
            if do in ("prepare", "start"):
                self.do_release()
            text = " ".join(str(error).split())
            return {"failure": f"{type(error).__name__}: {text}"[:400]}

    def do_start(self, peer: str, threads: int) -> Answer:
        """Import the library."""
        self.peer = load_peer(peer, threads)
        return {"version": self.peer.version()}

    def do_prepare(self, case: str | dict[str, Any], *, judge: bool = True) -> Answer:
        """Make the data, compile, judge one result, warm up and calibrate every variant."""
        assert self.peer is not None
        self.case = find_case(case) if isinstance(case, str) else Case.from_dict(case)
        data = make_data(self.case)
        work = self.peer.prepare(self.case, data)
        error = None
        if judge:
            error = worst_error(self.case, data, work.outputs(work.call()), work.keep)
        self._calibrate(work)
        timing.wait_until_idle()
        return {
            "error_units": None if error is None else str(error),
            "calls": self.calls_per_sample,
            "seconds": self.seconds,
        }

    def do_sample(self, variant: str, count: int) -> Answer:
        """Take so many samples of one variant."""
        assert self.peer is not None
        call = self.calls[variant]
        warm_up = call if self._needs_warm_up(variant) else None
        calls = self.calls_per_sample[variant]
        sample = partial(timing.time_batch, call, calls)
        if variant == "kept":
            sample = partial(self._sample_kept, call, calls)
        seconds = timing.take_samples(sample, count, warm_up)
        timing.wait_until_idle()
        return {"seconds": seconds}

    def _needs_warm_up(self, variant: str) -> bool:
        """Tell whether a call warms anything: caches (short calls), our pool after "kept"."""
        if variant == "kept":
            return False
        return "kept" in self.calls or self.seconds[variant] < timing.LONG_CALL_SECONDS

    def do_release(self) -> Answer:
        """Let go of the case's arrays."""
        self.calls, self.calls_per_sample, self.seconds = {}, {}, {}
        if self.peer is not None:
            self.peer.drop_caches()
        return {}

    def _calibrate(self, work: Work) -> None:
        assert self.case is not None
        self.calls = {"fresh": work.call, **work.variants}
        for variant, call in self.calls.items():
            calls, seconds = timing.calibrate(call)
            self.calls_per_sample[variant], self.seconds[variant] = calls, seconds
        if not work.variants:  # a peer
            return
        most = max(1, KEPT_BYTES // max(self.case.array_bytes, 1))
        self.calls["kept"] = work.call
        self.calls_per_sample["kept"] = min(self.calls_per_sample["fresh"], most)
        self.seconds["kept"] = self.seconds["fresh"]

    def _sample_kept(self, call: Callable[[], Any], calls: int) -> float:
        """Empty the pool of recycled memory first, so that every result is new memory."""
        assert self.peer is not None
        self.peer.drop_caches()
        return timing.time_batch_kept(call, calls)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    worker = Worker()
    for line in requests:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


def main() -> None:
    """Keep the answers' pipe for the answers: send everything else printed to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
