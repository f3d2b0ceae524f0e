"""The C++ driver: every function of every backend on memory that shows each stray access.

Built here for a quick run, in a folder that the next run uses again; ``make test-sanitize`` does
the long one under the sanitizers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import normdrop
from tolerances import HANG_SECONDS

ROOT = Path(__file__).resolve().parent.parent
OLDEST_CMAKE = (3, 24)


def installed(*names: str) -> list[str]:
    """Programs of these names on PATH or beside Python, where pip puts them."""
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    found = [shutil.which(name, path=place) for name in names for place in places]
    return [path for path in found if path is not None]


def finished(
    command: list[str], seconds: float | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, env=environment
    )


def version(cmake: str) -> tuple[int, ...]:
    match = re.search(r"version (\d+)\.(\d+)", finished([cmake, "--version"]).stdout)
    return tuple(int(part) for part in match.groups()) if match else (0, 0)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in this folder: another test run may be building there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(folder: Path, target: str = "normdrop_driver", *options: str) -> Path:
    """Configure and build; what a build leaves in ``folder`` makes the next one short.

    Returns the folder, in which the target lies where CMake puts it.
    """
    cmakes = [path for path in installed("cmake") if version(path) >= OLDEST_CMAKE]
    if not cmakes:
        pytest.skip(f"no CMake {'.'.join(map(str, OLDEST_CMAKE))} or newer: pip install cmake")
    compilers = shlex.split(os.environ.get("CXX", ""))[:1] or ["c++", "g++", "clang++"]
    if not installed(*compilers):
        pytest.skip(f"no C++ compiler: none of {', '.join(compilers)} is installed")
    configure = [cmakes[0], "-S", str(ROOT), "-B", str(folder), "-DNORMDROP_BUILD_DRIVER=ON"]
    configure += ["-DNORMDROP_CUDA=OFF"]  # the driver's arrays lie in the host's memory
    configure += options
    if ninjas := installed("ninja"):
        configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninjas[0]}"]
    with locked(folder):
        result = finished(configure)
        if result.returncode != 0 and folder.exists():  # left by another CMake, or in another place
            shutil.rmtree(folder)
            result = finished(configure)
        assert result.returncode == 0, result.stdout + result.stderr
        result = finished([cmakes[0], "--build", str(folder), "--target", target])
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def build_folder(name: str, factory: pytest.TempPathFactory) -> Path:
    """In the tree, where the next run finds it, if one may write there."""
    if not (ROOT / "csrc").is_dir():
        pytest.skip("the C++ sources are not beside the tests")
    return ROOT / "build" / name if os.access(ROOT, os.W_OK) else factory.mktemp(name)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, announce: Callable[[str], None]) -> Path:
    announce("Compiling the C++ driver, 1 to 4 minutes; into build/, where the next run finds it.")
    return build(build_folder("driver", tmp_path_factory)) / "normdrop_driver"


def run(driver: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Threads that wait give their processor away, which on a busy machine others want."""
    return finished([str(driver), *options], HANG_SECONDS, OMP_WAIT_POLICY="passive")


def backends() -> list[str]:
    return [name for name in normdrop.backends() if not name.startswith("cuda")]


# Operations that the driver has no cases for yet: the tests in Python alone call them.
WITHOUT_CASES = {
    f"{name}_{way}"
    for name in (
        "rms_norm",
        "group_norm",
        "instance_norm",
        "weight_norm",
        "prelu",
        "dropout_add_layer_norm",
        "dropout_add_rms_norm",
    )
    for way in ("forward", "backward")
} | {
    "batch_stats",
    "batch_norm_apply",
    "batch_norm_gradient_sums",
    "batch_norm_backward_apply",
}


def test_every_function_is_called(driver: Path) -> None:
    """A function added to the table without a group in the driver fails here."""
    table = (ROOT / "csrc" / "ops" / "operations.h").read_text()
    functions = [f for f in re.findall(r"  X\((\w+), \w+\)", table) if f not in WITHOUT_CASES]
    assert len(functions) >= 9
    listed = {tuple(name.split("/")) for name in run(driver, "--list").stdout.split()}
    called = {(operation, backend) for operation, _, _, backend in listed}
    assert called == {(f, backend) for f in [*functions, "run_tasks"] for backend in backends()}
    for operation in functions:
        dtypes = {dtype for name, _, dtype, _ in listed if name == operation}
        known = {"dropout_keep": {"uint8"}, "copy": {"bytes"}}
        known["update_running_stats"] = {"float32", "float64"}
        assert dtypes == known.get(operation, {"float16", "bfloat16", "float32", "float64"})


def test_nothing_is_read_or_written_astray(driver: Path) -> None:
    """Guard pages, canaries, gaps, unwritten elements; threads and addresses move no bit."""
    result = run(driver, "--quick")
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    last_line = result.stdout.strip().splitlines()[-1]
    match = re.fullmatch(r"(\d+) passed, 0 failed", last_line)
    assert match is not None, last_line
    assert int(match[1]) > 100_000 * len(backends())


def test_wrong_usage_is_refused(driver: Path) -> None:
    result = run(driver, "--fast")
    assert result.returncode == 2
    assert "usage" in result.stderr


def test_what_is_built_is_announced(driver: Path) -> None:
    """pytest stands still for minutes while compilers work. Here nothing is compiled again."""
    case = f"{__file__}::test_wrong_usage_is_refused"
    result = finished([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", case])
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("Compiling the C++ driver, 1 to 4 minutes")


def test_a_second_build_compiles_nothing(driver: Path) -> None:
    objects = {path: path.stat().st_mtime_ns for path in driver.parent.rglob("*.o")}
    assert len(objects) > 20
    build(driver.parent)
    assert objects == {path: path.stat().st_mtime_ns for path in driver.parent.rglob("*.o")}
