"""Programs that are run for so many seconds and leave nothing behind."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence


def find_program(name: str) -> str | None:
    """Find a program of the CUDA toolkit on PATH, or where toolkits are installed."""
    places = sorted(glob.glob(f"/usr/local/cuda*/bin/{name}"), reverse=True)
    return shutil.which(name) or (places[0] if places else None)


def run_bounded(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Return status and output; TimeoutExpired after ``seconds``.

    The program is ended with all that it started: a profiler's or a sanitizer's target would
    otherwise go on, and hold the pipes.
    """
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=max(seconds, 1.0))
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output
