"""Measure this package against NumPy and the installed frameworks.

The code behind ``normdrop bench``: a registry of cases, one process per library, alternating
rounds, and the worst error beside every time. `run_quick` is the short form; `run` takes cases
from `select_cases` and peers by name.
"""

from __future__ import annotations

from normdrop.benchmark.case_run import MeasuringFailed, Settings
from normdrop.benchmark.cases import CASES, OPS, PEER_NAMES, Case, select_cases
from normdrop.benchmark.report import render_markdown, render_plain
from normdrop.benchmark.results import Cell, Report, Row
from normdrop.benchmark.run import Interrupted, default_threads, installed_peers, run, run_quick

__all__ = [
    "CASES",
    "OPS",
    "PEER_NAMES",
    "Case",
    "Cell",
    "Interrupted",
    "MeasuringFailed",
    "Report",
    "Row",
    "Settings",
    "default_threads",
    "installed_peers",
    "render_markdown",
    "render_plain",
    "run",
    "run_quick",
    "select_cases",
]
