"""What the Makefile does again and what it does not: one wheel serves all its targets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test_driver import ROOT
from tolerances import HANG_SECONDS

BUILD = "tools/build_wheel.py build/wheel/OFF"
TARGETS = ("demo", "test", "lint", "test-frameworks")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment in which every stamp is newer than every source."""
    if shutil.which("make") is None or not (ROOT / "Makefile").exists():
        pytest.skip("needs make and the Makefile")
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    later = time.time() + 3600
    extras = ("demo", "test", "lint", "frameworks")
    stamps = ["tools.stamp", "package-OFF.stamp", *(f"{name}.stamp" for name in extras)]
    for stamp in ["bin/python", *stamps]:
        (folder / stamp).touch()
        os.utime(folder / stamp, (later, later))
    return folder


def plan(environment: Path, *words: str) -> str:
    """What make would run."""
    command = ["make", "-n", f"VENV={environment}", "CUDA=OFF", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_built_or_installed_twice(environment, target):
    assert "build_wheel" not in plan(environment, target)
    assert "pip install" not in plan(environment, target)


def test_a_changed_source_is_built_once_for_all_targets(environment):
    todo = plan(environment, "-W", "csrc/registry.cpp", *TARGETS)
    assert todo.count(BUILD) == 1
    assert todo.count("--force-reinstall --no-deps build/wheel/OFF/") == 1
    assert todo.count("pip install") == 1, "packages of others stay as they are"


def test_a_new_environment_is_filled_for_its_target_only(environment):
    (environment / "test.stamp").unlink()
    todo = plan(environment, "test")
    assert "[test]" in todo and BUILD not in todo and "torch" not in todo


def test_every_build_says_what_it_does(environment):
    """Minutes without a line look like a hang."""
    for stamp in environment.glob("*.stamp"):
        stamp.unlink()
    lines = plan(environment, *TARGETS).splitlines()
    for i, line in enumerate(lines):
        if "pip install" in line or "build_wheel" in line:
            before = [earlier for earlier in lines[:i] if earlier.startswith("echo ")]
            assert before, line
    said = [line for line in lines if line.startswith("echo ")]
    assert any("Compiling normdrop" in line and "minutes" in line for line in said)


def test_clean_removes_what_was_built(environment):
    removed = plan(environment, "clean").split()
    assert {str(environment), ".venv-cuda-emulated", "build"} <= set(removed)


def test_commands_under_one_lock_take_turns(tmp_path):
    """Each of them makes a file that must not be there yet, and takes it away."""
    if not (ROOT / "tools").is_dir():
        pytest.skip("the build's files are not beside the tests")
    code = "import os, sys, time; os.close(os.open('taken', os.O_CREAT | os.O_EXCL)); "
    code += "time.sleep(0.05); os.remove('taken')"
    lock = [sys.executable, str(ROOT / "tools" / "with_lock.py"), "folder/lock"]
    running = [
        subprocess.Popen([*lock, sys.executable, "-c", code], cwd=tmp_path) for _ in range(5)
    ]
    assert [process.wait(HANG_SECONDS) for process in running] == [0] * 5
    status = subprocess.call([*lock, sys.executable, "-c", "raise SystemExit(3)"], cwd=tmp_path)
    assert status == 3
