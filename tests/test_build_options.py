"""What CMake makes of the options, as far as it gets without compiling a kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from test_driver import OLDEST_CMAKE, ROOT, finished, installed, version
from tolerances import HANG_SECONDS

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
DESCRIBE = """
cmake_minimum_required(VERSION 3.24)
include({root}/cmake/cuda_architectures.cmake)
describe_architectures("{requested}" "{present}" "{chosen}" text)
message("${{text}}")
"""
SCANNED = """
function(tell_scanned folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(scanned ${target} CXX_SCAN_FOR_MODULES)
    message(STATUS "${target} scanned: ${scanned}")
  endforeach()
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(subfolder IN LISTS subfolders)
    tell_scanned(${subfolder})
  endforeach()
endfunction()
cmake_language(DEFER CALL tell_scanned ${CMAKE_CURRENT_SOURCE_DIR})
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

    def run(*options: str, program: str = cmake) -> subprocess.CompletedProcess[str]:
        command = [program, "-S", str(ROOT), "-B", str(tmp_path / "build"), *options]
        command += ["-DNORMDROP_BUILD_DRIVER=ON"]  # needs no pybind11
        if ninjas := installed("ninja"):
            command += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninjas[0]}"]
        return finished(command, HANG_SECONDS)

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


def test_no_source_is_scanned_for_modules(configure, tmp_path):
    """There are none; from C++20 on, CMake 3.28 would scan each source before it compiles it."""
    scanning = [path for path in installed("cmake") if version(path) >= (3, 28)]
    if not scanning:
        pytest.skip("only CMake 3.28 and newer scan")
    told = tmp_path / "told.cmake"
    told.write_text(SCANNED)
    options = ["-DNORMDROP_CUDA=OFF", "-DNORMDROP_CUDA_EMULATION=ON"]
    result = configure(*options, f"-DCMAKE_PROJECT_INCLUDE={told}", program=scanning[0])
    assert result.returncode == 0, result.stderr
    scanned = re.findall(r"^-- (\w+) scanned: (.*)$", result.stdout, flags=re.M)
    assert {"normdrop_runtime", "normdrop_driver", "normdrop_cuda_driver"} <= {
        n for n, _ in scanned
    }
    assert {value for _, value in scanned} == {"OFF"}
    files = (tmp_path / "build").rglob("*.ninja")
    assert not any(".ddi" in path.read_text() for path in files), "a rule that scans for modules"


def run_script(
    cmake: str, folder: Path, script: str, **arguments: str
) -> subprocess.CompletedProcess[str]:
    path = folder / "script.cmake"
    path.write_text(script.format(root=ROOT, **arguments))
    return finished([cmake, "-P", str(path)], HANG_SECONDS)


def choose(cmake: str, folder: Path, **arguments: str) -> subprocess.CompletedProcess[str]:
    return run_script(cmake, folder, CHOOSE, **arguments)


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


@pytest.mark.parametrize(
    ("requested", "present", "chosen", "texts"),
    [
        ("90", "86", "90", ["90, as CMAKE_CUDA_ARCHITECTURES"]),
        ("", "86", "86-real", ["86-real, of this machine"]),
        (
            "",
            "",
            "75-real;90-real;90-virtual",
            ["75-real, 90-real, 90-virtual, since no GPU is here", "CMAKE_CUDA_ARCHITECTURES=90"],
        ),
    ],
)
def test_the_summary_says_how_to_choose_fewer(cmake, tmp_path, requested, present, chosen, texts):
    result = run_script(
        cmake, tmp_path, DESCRIBE, requested=requested, present=present, chosen=chosen
    )
    message = " ".join(result.stderr.split())
    assert result.returncode == 0
    assert all(text in message for text in texts), message
    assert ("=90" in message) == (not requested and not present)


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
