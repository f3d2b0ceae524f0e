"""The emulation of CUDA on the host: what it must catch, and what it must let pass.

Its cases are C++ programs (``tests/cpp/emulation``), built here. Those named ``right/`` are correct
kernels, which no order of threads may make fail; those named ``wrong/`` have one defect each.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from test_driver import ROOT, build, build_folder, finished, installed
from tolerances import HANG_SECONDS

HAZARDS = (
    "read_neighbour",  # __syncthreads before reading
    "read_in_rounds",  # __syncthreads before overwriting
    "read_partner_in_warp",  # __syncwarp before reading
    "read_warp_in_rounds",  # __syncwarp before overwriting
    "sum_row",  # shared memory that nobody wrote
    "read_other_block",  # a cluster's barrier before reading another block
    "read_leaving_block",  # a cluster's barrier before leaving
)
REFUSALS = ("overrun", "mask", "barrier", "deadlock", "launch", "device", "streams")


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory, announce: Callable[[str], None]) -> Path:
    announce("Compiling the cases of the emulated GPU, a minute; the next run finds them.")
    folder = build(
        build_folder("emulation", tmp_path_factory),
        "normdrop_emulation_tests",
        "-DNORMDROP_CUDA_EMULATION=ON",
        "-DNORMDROP_CUDA=OFF",
    )
    return folder / "tests" / "cpp" / "emulation" / "normdrop_emulation_tests"


def run(program: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *words],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )


def test_every_kind_of_defect_has_a_case(emulation: Path) -> None:
    names = run(emulation, "--list").stdout.split()
    assert len(names) == len(set(names))
    for hazard in HAZARDS:
        assert {f"right/{hazard}", f"wrong/{hazard}"} <= set(names)
    for refusal in REFUSALS:
        assert any(name.startswith(f"wrong/{refusal}/") for name in names), refusal


def test_defects_show_and_correct_programs_pass(emulation: Path) -> None:
    names = run(emulation, "--list").stdout.split()
    result = run(emulation)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert result.stdout.splitlines()[-1] == f"{len(names)} passed, 0 failed"


@pytest.mark.parametrize("order", ["forward", "reverse", "priority:17"])
def test_order_comes_from_the_environment(emulation: Path, order: str) -> None:
    result = run(emulation, "large/", NORMDROP_EMULATION_ORDER=order)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("NORMDROP_EMULATION_ORDER", "must be forward, reverse or priority:SEED, got 'sideways'"),
        ("NORMDROP_EMULATION_STREAMS", "must be immediate, deferred or lazy, got 'sideways'"),
    ],
)
def test_wrong_settings_are_refused(emulation: Path, variable: str, message: str) -> None:
    result = run(emulation, "large/", **{variable: "sideways"})
    assert result.returncode == 1
    assert f"{variable} {message}" in result.stdout
    assert re.search(r"^0 passed, \d+ failed$", result.stdout, re.MULTILINE)


def test_wrong_usage_is_refused(emulation: Path) -> None:
    result = run(emulation, "--fast")
    assert result.returncode == 2
    assert "usage" in result.stderr


def test_the_same_source_compiles_for_the_card(tmp_path: Path) -> None:
    """sm_90 has clusters, sm_75 neither those nor bfloat16 instructions."""
    compilers = installed("nvcc")
    if not compilers:
        pytest.skip("no nvcc on PATH")
    source = ROOT / "tests" / "cpp" / "emulation" / "contract.cu"
    folders = [ROOT / "csrc", ROOT / "csrc" / "cuda" / "device"]
    options = [
        "-std=c++20",
        "-fmad=false",
        "-Werror",
        "all-warnings",
        "-Xcompiler",
        "-Wall,-Wextra,-Werror",
    ]
    options += [f"-gencode=arch=compute_{major},code=sm_{major}" for major in (75, 90)]
    options += ["-DNORMDROP_DEVICE=cuda", *(f"-I{folder}" for folder in folders)]
    command = [compilers[0], *options, "-c", str(source), "-o", str(tmp_path / "contract.o")]
    result = finished(command, HANG_SECONDS)
    assert result.returncode == 0, result.stdout + result.stderr
