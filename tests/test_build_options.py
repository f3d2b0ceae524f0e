"""What CMake makes of the options, as far as it gets without compiling a kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from test_driver import OLDEST_CMAKE, ROOT, finished, installed, version

FOR_THE_CPU = "pip install . -C cmake.define.NORMDROP_CUDA=OFF"
NVCC = """#!/bin/sh
case "$1" in
  --version) echo "Cuda compilation tools, release {version}, V{version}.1" ;;
  --list-gpu-arch) printf 'compute_75\\ncompute_90\\n' ;;
  *) echo "cicc: not found" >&2; exit 1 ;;
esac
"""
CHOOSE = """
cmake_minimum_required(VERSION 3.24)
include({root}/cmake/cuda_architectures.cmake)
choose_architectures("{requested}" "{known}" "{present}" chosen)
message("${{chosen}}")
"""
CUDA_12_0 = "75;80;86;89;90"
CUDA_13_0 = "75;80;86;87;88;89;90;100;103;110;120;121"

Configure = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cmake() -> str:
    if not (ROOT / "cmake").is_dir():
        pytest.skip("the build's files are not beside the tests")
    cmakes = [path for path in installed("cmake") if version(path) >= OLDEST_CMAKE]
    if not cmakes or not installed("c++", "g++", "clang++"):
        pytest.skip("no CMake that is new enough, or no C++ compiler")
    return cmakes[0]


@pytest.fixture
def configure(cmake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Configure with these options, on a machine whose toolkit, if it has one, is out of sight."""
    for variable in ("CUDACXX", "CUDAARCHS", "CUDAHOSTCXX", "MAX_JOBS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CUDAToolkit_ROOT", str(tmp_path / "toolkit"))

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [cmake, "-S", str(ROOT), "-B", str(tmp_path / "build"), *options]
        command += ["-DNORMDROP_BUILD_DRIVER=ON"]  # needs no pybind11
        if ninjas := installed("ninja"):
            command += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninjas[0]}"]
        return finished(command, 120)

    return run


def put_nvcc(tmp_path: Path, version: str) -> Path:
    """A toolkit that knows its version and architectures, and compiles nothing."""
    nvcc = tmp_path / "toolkit" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(NVCC.format(version=version))
    nvcc.chmod(0o755)
    return nvcc


def assert_refused(result: subprocess.CompletedProcess[str], *texts: str) -> None:
    message = " ".join(result.stderr.split())
    assert result.returncode != 0, result.stdout
    for text in texts:
        assert text in message, result.stderr


def test_an_unknown_option_is_an_error(configure):
    assert_refused(
        configure("-DNORMDROP_CUDDA=ON"), "Unknown option NORMDROP_CUDDA", "NORMDROP_CUDA;"
    )


@pytest.mark.parametrize(
    ("option", "legal"),
    [
        ("NORMDROP_CUDA", "AUTO, ON or OFF"),
        ("NORMDROP_OPENMP", "AUTO, ON or OFF"),
        ("NORMDROP_CUDA_EMULATION", "ON or OFF"),
        ("NORMDROP_WARNINGS_AS_ERRORS", "ON or OFF"),
    ],
)
def test_a_value_that_is_none_is_an_error(configure, option, legal):
    assert_refused(configure(f"-D{option}=MAYBE"), f"{option} must be {legal}, got 'MAYBE'")


def test_on_without_a_toolkit_says_where_it_looked_and_what_to_do(configure, tmp_path):
    result = configure("-DNORMDROP_CUDA=ON")
    place = f"no nvcc in CUDAToolkit_ROOT={tmp_path / 'toolkit'}"
    assert_refused(result, place, "tools/cuda-toolkit-from-wheels", FOR_THE_CPU)
    assert (ROOT / "tools" / "cuda-toolkit-from-wheels").exists()


@pytest.mark.parametrize("value", ["AUTO", "OFF"])
def test_without_a_toolkit_the_build_is_for_the_cpu(configure, value):
    result = configure(f"-DNORMDROP_CUDA={value}")
    assert result.returncode == 0, result.stderr
    assert ("CUDA: building for the CPU only" in result.stdout) == (value == "AUTO")


def test_off_looks_for_nothing(configure, tmp_path):
    put_nvcc(tmp_path, "13.0")
    assert configure("-DNORMDROP_CUDA=OFF").returncode == 0


@pytest.mark.parametrize("value", ["AUTO", "ON"])
def test_a_broken_toolkit_is_an_error_that_names_the_way_out(configure, tmp_path, value):
    nvcc = put_nvcc(tmp_path, "13.0")
    result = configure(f"-DNORMDROP_CUDA={value}")
    assert_refused(result, f"NORMDROP_CUDA={value}", str(nvcc), "cicc: not found", FOR_THE_CPU)


def test_an_old_toolkit_is_refused(configure, tmp_path):
    put_nvcc(tmp_path, "11.8")
    assert_refused(configure(), "11.8", "12.0 is the oldest", FOR_THE_CPU)


def test_a_compiler_that_is_named_and_missing_is_refused(configure, tmp_path):
    missing = tmp_path / "nowhere" / "nvcc"
    assert_refused(configure(f"-DCMAKE_CUDA_COMPILER={missing}"), str(missing), FOR_THE_CPU)


def test_the_number_of_processes_is_checked(configure, monkeypatch):
    monkeypatch.setenv("MAX_JOBS", "many")
    assert_refused(configure(), "MAX_JOBS must be a number of processes, got 'many'")


def test_processes_are_limited_by_a_pool(configure, tmp_path, monkeypatch):
    if not installed("ninja"):
        pytest.skip("only Ninja has pools")
    monkeypatch.setenv("MAX_JOBS", "3")
    assert configure().returncode == 0
    rules = "".join(path.read_text() for path in (tmp_path / "build").rglob("*.ninja"))
    assert "pool max_jobs\n  depth = 3\n" in rules
    assert "  pool = max_jobs\n" in rules


def choose(cmake: str, folder: Path, **arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "choose.cmake"
    script.write_text(CHOOSE.format(root=ROOT, **arguments))
    return finished([cmake, "-P", str(script)], 60)


@pytest.mark.parametrize(
    ("requested", "known", "present", "chosen"),
    [
        ("", CUDA_12_0, "", "75-real;80-real;90-real;90-virtual"),
        ("", CUDA_13_0, "", "75-real;80-real;90-real;100-real;120-real;120-virtual"),
        (
            "",
            CUDA_13_0 + ";130",
            "",
            "75-real;80-real;90-real;100-real;120-real;130-real;130-virtual",
        ),
        ("", "80;90;100;120", "", "80-real;90-real;100-real;120-real;120-virtual"),
        ("", CUDA_13_0, "90", "90-real"),
        ("", CUDA_13_0, "90;120;90", "90-real;120-real"),
        ("", CUDA_13_0, "70;90", "90-real"),
        ("", CUDA_12_0, "61", "75-real;80-real;90-real;90-virtual"),
        ("native", CUDA_13_0, "86", "86-real"),
        ("90-real;90a;120-virtual", CUDA_13_0, "86", "90-real;90a;120-virtual"),
        ("all-major", CUDA_13_0, "86", "80;90;100;110;120"),
        ("all", CUDA_12_0, "86", CUDA_12_0),
    ],
)
def test_architectures(cmake, tmp_path, requested, known, present, chosen):
    result = choose(cmake, tmp_path, requested=requested, known=known, present=present)
    assert (result.returncode, result.stderr.strip()) == (0, chosen)


@pytest.mark.parametrize(
    ("requested", "text"),
    [
        ("9.0", "got '9.0'"),
        ("90,100", "got '90,100'"),
        ("70", "must be among 75, 80, 86, 89, 90 for this toolkit, got '70'"),
        ("90;sm_90", "got 'sm_90'"),
        ("native", "this machine has no GPU"),
    ],
)
def test_architectures_that_cannot_be(cmake, tmp_path, requested, text):
    result = choose(cmake, tmp_path, requested=requested, known=CUDA_12_0, present="")
    assert_refused(result, text)


def test_a_toolkit_on_this_machine_is_complete(cmake, tmp_path):
    """Only the search and its trial; nvcc need not be on PATH."""
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("no CUDA toolkit")
    script = tmp_path / "try.cmake"
    script.write_text(
        "cmake_minimum_required(VERSION 3.24)\n"
        f"set(CMAKE_BINARY_DIR {tmp_path})\n"
        f"include({ROOT}/cmake/cuda_toolkit.cmake)\n"
        "find_nvcc(nvcc)\n"
        "read_toolkit_version(${nvcc} version)\n"
        "try_toolkit(${nvcc} ${version} devices)\n"
        'message("${nvcc} ${version}")\n'
    )
    environment = {name: value for name, value in os.environ.items() if name != "CUDAToolkit_ROOT"}
    result = subprocess.run(
        [cmake, "-P", str(script)], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    path, found = result.stderr.split()
    assert Path(path).exists() and int(found.split(".")[0]) >= 12
