"""How busy bfloat16 dropout keeps the integer units: ncu over a few calls.

``python -m gpu_check.dropout_profile cuda`` is the program that is profiled.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import normdrop as nd
from gpu_check.card import open_card
from gpu_check.data import make_data
from gpu_check.findings import Findings, Skip
from gpu_check.processes import find_program, run_bounded
from normdrop.benchmark.cases import Case
from normdrop.benchmark.operations import DROP_PROBABILITY

_SIZE, _TINY_SIZE = 1 << 28, 64
METRICS = {
    "gpu__time_duration.sum": "time",
    "sm__inst_executed_pipe_alu.avg.pct_of_peak_sustained_active": "integer and logic pipe",
    "sm__inst_executed_pipe_fmaheavy.avg.pct_of_peak_sustained_active": "multiply pipe",
    "sm__inst_issued.avg.pct_of_peak_sustained_active": "issue slots",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "busiest unit",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory",
}
_EVERYWHERE = (
    "gpu__time_duration.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
)
# Of every kernel, the line of a metric holds these.
_COLUMNS = ("Kernel Name", "Metric Name", "Metric Unit", "Metric Value")
_DRY_OUTPUT = '"Kernel Name","Metric Name","Metric Unit","Metric Value"\n' + "".join(
    f'"drop_elements","{name}","%","0"\n' for name in METRICS
)
_LONGEST_SECONDS = 90.0


def profile_dropout(dry: bool, findings: Findings) -> None:
    """Note the metrics of the second call of bfloat16 dropout."""

    def run() -> str:
        found = parse(_DRY_OUTPUT if dry else _profiled(findings.seconds_left()))
        findings.extra["philox_profile"] = found
        return ", ".join(f"{METRICS.get(k, k)} {v}" for k, v in found.items())

    if dry:
        call_dropout(dry)
    findings.run("profile of bfloat16 dropout", run)


def _profiled(seconds_left: float) -> str:
    program = find_program("ncu")
    if program is None:
        raise Skip("ncu is not installed")
    failure = ""
    # Names of pipes differ between generations; time and memory are the same everywhere.
    for metrics in (tuple(METRICS), _EVERYWHERE):
        try:
            status, output = run_bounded(
                profile_command(program, metrics), min(seconds_left, _LONGEST_SECONDS)
            )
        except subprocess.TimeoutExpired:
            raise Skip("ncu did not finish") from None
        if status == 0 and _COLUMNS[1] in output:
            return output
        failure = " | ".join(output.strip().splitlines()[-3:])
    # Counters are closed to plain users on many machines: no fault of the kernels.
    raise Skip(f"ncu gives no metrics: {failure}")


def profile_command(program: str, metrics: Sequence[str]) -> list[str]:
    """Return ncu's command; the first of our kernels warms up, the second counts."""
    choose = ["--kernel-name", "regex:drop", "--launch-skip", "1", "--launch-count", "1"]
    target = [sys.executable, "-m", "gpu_check.dropout_profile", "cuda"]
    listed = ["--metrics", ",".join(metrics)]
    return [program, "--csv", "--page", "details", *choose, *listed, *target]


def parse(output: str) -> dict[str, str]:
    """Read ncu's CSV: lines of the tool itself stand before the heading."""
    lines = output.splitlines()
    start = next(index for index, line in enumerate(lines) if _COLUMNS[1] in line)
    found = {}
    for row in csv.DictReader(lines[start:]):
        if row[_COLUMNS[1]] in METRICS:
            found[row[_COLUMNS[1]]] = f"{row[_COLUMNS[3]]} {row[_COLUMNS[2]]}"
    return found


def call_dropout(dry: bool) -> Any:
    """Call what is profiled."""
    card = open_card(dry)
    case = Case("dropout", "forward", (_TINY_SIZE if dry else _SIZE,), "flat", "bfloat16")
    data = make_data(card, case, 0)
    with nd.use_backend(card.backend):
        for _ in range(3):
            nd.dropout(data.x, DROP_PROBABILITY, rng=7, out=data.out)
    card.synchronise()
    return data.out


if __name__ == "__main__":
    call_dropout(dry=sys.argv[1] != "cuda")
