"""The worker processes of one benchmark, seen from the process that directs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

_QUIT_SECONDS = 2.0


class WorkerFailure(Exception):
    """A worker could not serve a request; the text says why."""


class WorkerProcess:
    """One library in a process of its own.

    Starting does not wait: libraries load side by side, and `started` waits for the answer.
    """

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = peer
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "normdrop.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=worker_environment(threads),
            text=True,
            encoding="utf-8",
            # A group of its own: Ctrl-C reaches the parent alone, which ends its workers.
            start_new_session=True,
        )
        self._send({"do": "start", "peer": peer, "threads": threads})

    def started(self) -> str:
        """Wait until the library is loaded; its version."""
        return str(self._receive()["version"])

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request and wait for the answer."""
        self._send({"do": do, **arguments})
        return self._receive()

    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, by force where it does not end by itself."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._release()

    def kill(self) -> None:
        """End the process and what it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._release()

    def _release(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerFailure(self._last_words()) from error

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailure(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise WorkerFailure(answer["failure"])
        return answer

    def _last_words(self) -> str:
        """Tell exit status and last line of standard error of a process that ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_QUIT_SECONDS)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        last = f": {lines[-1]}" if lines else ""
        return f"the process ended with status {self._process.returncode}{last}"


class Workers:
    """All workers of a benchmark; leaving the block by an exception kills them."""

    def __init__(self) -> None:
        self.running: dict[str, WorkerProcess] = {}
        self.versions: dict[str, str] = {}
        self.unavailable: dict[str, str] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.running.values():
            if kind is None:
                worker.close()
            else:
                worker.kill()

    def start(self, peers: list[str], threads: int) -> None:
        """Start every worker, then wait for all; who fails goes to ``unavailable``."""
        for peer in peers:
            self.running[peer] = WorkerProcess(peer, threads)
        for peer in peers:
            try:
                self.versions[peer] = self.running[peer].started()
            except WorkerFailure as failure:
                self.unavailable[peer] = str(failure)
                self.running.pop(peer).kill()


def worker_environment(threads: int) -> dict[str, str]:
    """Return this environment with every thread setting that a library reads at import."""
    settings = ("OMP", "MKL", "OPENBLAS", "NORMDROP")
    limits = {f"{name}_NUM_THREADS": str(threads) for name in settings}
    return {**os.environ, **limits, "TF_CPP_MIN_LOG_LEVEL": "3"}
