"""Run a part of the check: build, go through its sections, write one results file.

python -m gpu_check                    everything, in the folder bench or with it on PYTHONPATH
python -m gpu_check --part 3/8         an eighth of it, which ends within eight minutes
python -m gpu_check --dry-run          everything but the device
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_check.building import (
    PACKAGE,
    ROOT,
    BuildError,
    build,
    environment_of,
    usable_backends,
)
from gpu_check.sections import (
    DRY_RUN_SECONDS,
    GRACE_SECONDS,
    PART_SECONDS,
    PEERS,
    Section,
    peers_in,
    sections_of_part,
)

Found = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a run works with; ``status`` is 1 where a GPU is there and cannot be used."""

    dry: bool
    package: Path | None
    status: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Run the program; the exit status is 1 where a check failed."""
    options = _parse(arguments)
    began = time.monotonic()
    try:
        sections = sections_of_part(options.part)
        peers_in(options.against)
        setting = prepare(options.dry_run)
    except (ValueError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(prefix="normdrop-gpu-check-") as folder:
        for section in sections:
            print(f"{section.name}: {section.about}", flush=True)
            # The build's seconds are the first section's: a part of one section ends in time.
            spent = 0 if found else time.monotonic() - began
            longest = DRY_RUN_SECONDS if setting.dry else PART_SECONDS
            seconds = max(longest - spent, 10.0)
            found[section.name] = run_section(
                section, setting, options.against, Path(folder), seconds
            )
    failures = write_results(found, setting, options)
    return max(setting.status, int(failures > 0))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu-check", description="Check and time the CUDA backend on this machine's GPU."
    )
    parser.add_argument("--part", default="1/1", help="i/n: the i-th of n parts, at most 8")
    parser.add_argument("--dry-run", action="store_true", help="everything but the device")
    parser.add_argument("--commit", help="for the results file, where there is no git checkout")
    parser.add_argument("--against", default=",".join(PEERS), help="peers, or none")
    return parser.parse_args(arguments)


def prepare(dry: bool) -> Setting:
    """Build for the GPU, or say why this becomes a dry run."""
    if not dry and not list_gpus():
        print("No GPU here (nvidia-smi shows none), so this is a dry run: nothing is measured.")
        dry = True
    if not dry:
        print(f"{list_gpus()[0]}: building for it", flush=True)
        print(build(cuda=True), flush=True)
        usable, reason = usable_backends(PACKAGE)
        if "cuda" in usable:
            return Setting(False, PACKAGE)
        print(f"The backend cuda cannot be used ({reason}), so this is a dry run, and a failure.")
        return Setting(True, PACKAGE if usable else None, status=1)
    print("DRY RUN: no time below is a speed of a GPU")
    usable, reason = usable_backends(None)
    if usable:
        return Setting(True, None)
    print(f"{reason}: building for the CPU: {build(cuda=False)}", flush=True)
    return Setting(True, PACKAGE)


def list_gpus() -> list[str]:
    """Name the GPUs that the driver shows."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def run_section(
    section: Section, setting: Setting, against: str, folder: Path, seconds: float
) -> Found:
    """Run a section in its own process and read what it found, also where it ended badly."""
    path = folder / f"{section.name}.json"
    command = [sys.executable, "-m", "gpu_check.section", section.name, str(path), f"{seconds:.0f}"]
    command.append(f"--against={against}")
    if setting.dry:
        command.append("--dry")
    environment = environment_of(setting.package)
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    ending = _wait(process, seconds + GRACE_SECONDS)
    found: Found = {"checks": [], "rows": [], "skipped": {}, "unavailable": {}, "extra": {}}
    if path.exists():
        found = json.loads(path.read_text())
    if ending:
        print(f"  FAILED    {section.name}: {ending}")
        failed = {"section": section.name, "name": "the section", "status": "FAILED"}
        found["checks"].append({**failed, "detail": ending})
    return found


def _wait(process: subprocess.Popen[bytes], longest_seconds: float) -> str:
    """Return how a process ended, empty where it ended well; nothing of it survives."""
    try:
        status = process.wait(longest_seconds)
    except subprocess.TimeoutExpired:
        return f"not finished after {longest_seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "" if status == 0 else f"the process ended with status {status}"


def write_results(found: dict[str, Found], setting: Setting, options: argparse.Namespace) -> int:
    """Write the files, print the summary; the number of failed checks."""
    if setting.package is not None:
        sys.path.insert(0, str(setting.package))
    # Only now: the package may have been built a moment ago.
    from gpu_check.results_file import make_report, write_files

    report = make_report(found, setting.dry, options.commit)
    for told in write_files(report, results_folder(setting.dry), options.part):
        print(told)
    checks = report.findings["checks"]
    count = {kind: sum(c["status"] == kind for c in checks) for kind in
             ("ok", "FAILED", "different", "skipped")}  # fmt: skip
    targets = report.findings["targets"].values()
    hits = sum(target["hit"] for target in targets)
    counts = ", ".join(f"{number} {kind}" for kind, number in count.items())
    print(
        f"checks: {counts}; cases timed: {len(report.rows)}, left out: {len(report.skipped)}; "
        f"targets hit: {hits} of {len(targets)}"
    )
    return count["FAILED"]


def results_folder(dry: bool) -> Path:
    """Return where results go; those of a dry run never beside real ones."""
    if dry:
        return Path(tempfile.mkdtemp(prefix="normdrop-dry-run-"))
    return Path(os.environ.get("OUT") or ROOT / "bench" / "results")


if __name__ == "__main__":
    sys.exit(main())
