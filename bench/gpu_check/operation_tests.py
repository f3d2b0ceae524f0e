"""The operations' own tests, under the backend of the device."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gpu_check.findings import OK, Findings, Skip
from gpu_check.processes import run_bounded

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = "test_gpu_frameworks.py"

# A test file is about operations where it takes the fixture `backend`; these are about the host.
_TAKES_BACKEND = re.compile(r"usefixtures\(\"backend\"\)|def test_\w+\([^)]*\bbackend\b")
_ABOUT_THE_HOST = ("test_float_environment.py", "test_threads.py", "test_large.py")
_AT_ONCE = 6
# The comparisons that follow need some of the time.
_SHARE_OF_TIME = 0.7
_TAIL_LINES = 12
# What a dry run runs: enough to see that files are found and results are read.
_DRY_FILE, _DRY_WORDS = "test_dropout.py", "test_empty_arrays or test_zero_dimensional_array"


def check_operations(backend: str, dry: bool, findings: Findings) -> None:
    """Run every file in a process of its own, several at a time: oracles are work for the CPU."""
    for package in ("pytest", "ml_dtypes"):
        if importlib.util.find_spec(package) is None:
            findings.run("operation tests", partial(_skip, f"{package} is not installed"))
            return
    files = [_DRY_FILE] if dry else operation_files()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = [(name, pool.submit(_run_file, name, backend, dry, findings)) for name in files]
        for name, run in runs:
            # Reported in order, whatever ends first.
            findings.run(f"tests/{name}", run.result)


def operation_files() -> list[str]:
    """Name the test files to run; that of the frameworks first, it takes no part in `backend`."""
    files = sorted((ROOT / "tests").glob("test_*.py"))
    chosen = [file.name for file in files if _TAKES_BACKEND.search(file.read_text())]
    chosen = [name for name in chosen if name not in (*_ABOUT_THE_HOST, FRAMEWORKS)]
    return [FRAMEWORKS, *chosen]


def _skip(reason: str) -> None:
    raise Skip(reason)


def _run_file(name: str, backend: str, dry: bool, findings: Findings) -> str:
    path = ROOT / "tests" / name
    if not path.exists():
        raise Skip("there is no such file yet")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    # JAX would take most of the memory for itself, while other files need some.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if name != FRAMEWORKS:
        environment["NORMDROP_TEST_BACKENDS"] = backend
    if dry:
        command += ["-k", _DRY_WORDS]
    left = max(findings.seconds_left(), 1.0) * _SHARE_OF_TIME
    try:
        status, output = run_bounded(command, left, environment)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"not finished after {left:.0f} s") from None
    return read_outcome(status, output)


def read_outcome(status: int, output: str) -> str:
    """Return pytest's last line; raise with the end of its output where a test failed."""
    lines = [line for line in output.splitlines() if line.strip()]
    # pytest 5: nothing was collected, or nothing was left of it.
    if status == 5:
        raise Skip("no test of this file takes a backend")
    if status != 0:
        raise AssertionError(" | ".join(lines[-_TAIL_LINES:]))
    return lines[-1].strip("= ") if lines else OK
