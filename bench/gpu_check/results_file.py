"""The findings of all sections as one report: a JSON file and a plot."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import normdrop as nd
from gpu_check.plan import cases_of
from gpu_check.sections import BENCHES
from gpu_check.table import verdict
from normdrop.benchmark import machine
from normdrop.benchmark.cases import Case
from normdrop.benchmark.plot import save_plot
from normdrop.benchmark.results import Report, Row

DRY_RUN = "dry run: no speeds of a GPU"
_GPU_FIELDS = ("name", "driver_version", "memory.total", "clocks.max.sm", "clocks.max.mem")


def make_report(sections: dict[str, dict[str, Any]], dry: bool, commit: str | None) -> Report:
    """Put the findings of sections together; ``findings`` holds what is no time of a case."""
    rows = [Row.from_dict(row) for found in sections.values() for row in found["rows"]]
    gpu = describe_gpu()
    title = DRY_RUN if dry else str(gpu.get("name", "unknown GPU"))
    config = nd.show_config("dict")
    return Report(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=commit or machine.describe_commit(),
        machine={**machine.describe_machine(), "gpu": gpu},
        versions={**machine.describe_versions(), **_device_versions(config)},
        settings={
            "title": title,
            "dry_run": dry,
            "threads": config["threads"],
            "backend": "cuda" if "cuda" in config["backends_usable"] else config["backend"],
            "compiler": config["compiler"],
            "build_type": config["build_type"],
        },
        rows=rows,
        unavailable=_joined(sections, "unavailable"),
        skipped=_joined(sections, "skipped"),
        findings={
            "checks": [check for found in sections.values() for check in found["checks"]],
            "targets": _targets(rows, dry),
            **_joined(sections, "extra"),
        },
    )


def _joined(sections: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    return {key: value for found in sections.values() for key, value in found[name].items()}


def _targets(rows: list[Row], dry: bool) -> dict[str, Any]:
    """Give the verdict on every row; none in a dry run, which has no speeds."""
    if dry:
        return {}
    cases: dict[str, Case] = {c.name: c for bench in BENCHES for c in cases_of(bench, tiny=False)}
    return {row.case: verdict(cases[row.case], row) for row in rows if row.case in cases}


def describe_gpu() -> dict[str, str]:
    """Ask nvidia-smi for the first GPU; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    first = done.stdout.strip().splitlines()[:1]
    return (
        dict(zip(_GPU_FIELDS, (text.strip() for text in first[0].split(",")), strict=True))
        if first
        else {}
    )


def _device_versions(config: dict[str, Any]) -> dict[str, str]:
    """Tell CUDA's versions and CuPy's, whose package has CUDA's version in its name."""
    found = {}
    if config["cuda"] is not None:
        found["cuda_toolkit"] = str(config["cuda"]["toolkit"])
        found["cuda_driver"] = str(config["cuda"]["driver"])
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name == "cupy" or name.startswith("cupy-cuda"):
            found["cupy"] = distribution.version
    return found


def file_stem(report: Report, part: str) -> str:
    """Name the files: date, GPU, and the part where there are several."""
    if report.settings["dry_run"]:
        place = "dry-run"
    else:
        words = re.findall(r"[a-z0-9]+", report.settings["title"].lower())
        place = "-".join(word for word in words if word != "nvidia")
    number, count = part.split("/")
    return f"{report.date[:10]}-{place}" + (f"-part-{number}-of-{count}" if count != "1" else "")


def write_files(report: Report, folder: Path, part: str) -> list[str]:
    """Write the JSON, and a plot where there are times and matplotlib; lines that tell it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_stem(report, part)}.json"
    report.save(path)
    told = [f"results: {path}"]
    if not report.rows:
        return [*told, "no plot: nothing was timed"]
    try:
        save_plot(report, path.with_suffix(".png"))
    except ModuleNotFoundError as error:
        return [*told, f"no plot: {error.name} is not installed"]
    return [*told, f"plot: {path.with_suffix('.png')}"]
