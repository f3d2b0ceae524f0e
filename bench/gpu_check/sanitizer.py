"""compute-sanitizer over `sanitizer_cases`."""

from __future__ import annotations

import glob
import shutil
import subprocess
import sys
from functools import partial

from gpu_check.findings import Findings, Skip
from gpu_check.processes import run_bounded

# By what they find most: memory errors, then hazards in shared memory.
TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
_ERRORS_FOUND = 99


def check_with_sanitizer(backend: str, dry: bool, findings: Findings) -> None:
    """Run every tool; in a dry run the same program without a tool."""
    for tool in TOOLS:
        findings.run(f"compute-sanitizer {tool}", partial(_run_tool, tool, backend, dry, findings))


def find_sanitizer() -> str | None:
    """Find the program on PATH or where toolkits are installed."""
    places = sorted(glob.glob("/usr/local/cuda*/bin/compute-sanitizer"), reverse=True)
    return shutil.which("compute-sanitizer") or (places[0] if places else None)


def _run_tool(tool: str, backend: str, dry: bool, findings: Findings) -> str:
    program = find_sanitizer()
    if program is None and not dry:
        raise Skip("compute-sanitizer is not installed")
    prefix = [] if dry else [str(program), "--tool", tool, "--error-exitcode", str(_ERRORS_FOUND)]
    command = [*prefix, sys.executable, "-m", "gpu_check.sanitizer_cases", backend]
    if dry:
        command.append("--tiny")
    # A tool that crawls must leave time for the others.
    left = max(findings.seconds_left() / 2, 1.0)
    try:
        status, output = run_bounded(command, left)
    except subprocess.TimeoutExpired:
        raise Skip(f"not finished after {left:.0f} s, no error so far") from None
    lines = output.strip().splitlines()
    if status != 0:
        raise AssertionError(" | ".join(lines[:8] + lines[-3:]))
    return lines[-1] if lines else "no output"
