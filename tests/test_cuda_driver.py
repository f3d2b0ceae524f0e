"""The C++ driver of the emulated GPU: the CUDA kernels on memory that shows each stray access.

A quick run in two orders; ``make test-sanitize`` does five, under the sanitizers. Errors put into
the kernels must fail it: ``make test-mutants``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from test_driver import ROOT, build, build_folder
from test_emulation import run

sys.path.insert(0, str(ROOT / "tests" / "mutants"))
from mutants import MUTANTS, Mutant

DTYPES = {"float32", "float64", "float16", "bfloat16"}
NORM_DTYPES = DTYPES | {"float16-float32", "bfloat16-float32"}  # of x, then of the parameters
EXPECTED_DTYPES = {
    "dropout": DTYPES,
    "batch_stats": DTYPES,
    "batch_norm_gradient_sums": DTYPES,
    "strided_copy": DTYPES,
    "dropout_keep": {"uint8"},
    "copy": {"bytes"},
    "update_running_stats": {"float32", "float64", "float32-float64"},
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, announce: Callable[[str], None]) -> Path:
    announce("Compiling the CUDA kernels for the CPU, 1 to 4 minutes; the next run finds them.")
    folder = build(
        build_folder("emulation", tmp_path_factory),
        "normdrop_cuda_driver",
        "-DNORMDROP_CUDA_EMULATION=ON",
    )
    return folder / "tests" / "cpp" / "cuda" / "normdrop_cuda_driver"


def test_every_function_is_called_with_every_dtype(driver: Path) -> None:
    listed_operations = (ROOT / "csrc" / "ops" / "operations.h").read_text()
    functions = [*re.findall(r"^  X\((\w+), ", listed_operations, re.M), "strided_copy"]
    listed = [name.split("/") for name in run(driver, "--list").stdout.split()]
    assert {operation for operation, *_ in listed} == set(functions)
    assert {backend for *_, backend in listed} == {"cuda-emulated"}
    for function in functions:
        dtypes = {dtype for operation, _, dtype, _ in listed if operation == function}
        assert dtypes == EXPECTED_DTYPES.get(function, NORM_DTYPES), function


@pytest.mark.parametrize("order", ["reverse", "priority:1"])
def test_nothing_is_read_or_written_astray(driver: Path, order: str) -> None:
    result = run(driver, "--quick", NORMDROP_EMULATION_ORDER=order)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    match = re.fullmatch(r"(\d+) passed, 0 failed", result.stdout.splitlines()[-1])
    assert match is not None
    assert int(match[1]) > 7000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_sources(mutant: Mutant) -> None:
    source = ROOT / "csrc" / "cuda" / mutant.file
    if not source.exists():
        pytest.skip("the C++ sources are not beside the tests")
    assert source.read_text().count(mutant.old) == 1
    assert mutant.old != mutant.new


def test_names_of_mutants_are_distinct() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 16
