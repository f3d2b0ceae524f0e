"""Tests that need a framework: none lacks the mark, none is skipped where it was asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CASES = """
import sys
import pytest

@pytest.fixture
def torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    return pytest.importorskip("torch")

{mark}
def test_with_torch(torch):
    pass

@pytest.mark.frameworks
def test_with_a_device():
    pytest.skip("needs a CUDA device")

def test_without():
    pass
"""


def run(folder: Path, mark: str, frameworks: str = "") -> str:
    """What pytest says of such cases, on a machine where torch cannot be imported."""
    (folder / "test_cases.py").write_text(CASES.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    command += ["-o", "markers=frameworks", "--rootdir", str(folder), str(folder)]
    places = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": places, "NORMDROP_TEST_FRAMEWORKS": frameworks}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_marked_test_is_skipped_where_no_framework_is_asked_for(tmp_path):
    assert "1 passed, 2 skipped" in run(tmp_path, "@pytest.mark.frameworks")


def test_a_test_without_the_mark_fails(tmp_path):
    text = run(tmp_path, "")
    assert "1 passed, 1 skipped, 1 error" in text
    assert "test_with_torch needs the mark frameworks" in text


def test_a_framework_that_was_asked_for_may_not_be_skipped(tmp_path, monkeypatch):
    """The package is found and cannot be imported; what needs a device may be skipped."""
    (tmp_path / "packages" / "torch").mkdir(parents=True)
    (tmp_path / "packages" / "torch" / "__init__.py").touch()
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'packages'}{os.pathsep}{known}")
    text = run(tmp_path, "@pytest.mark.frameworks", "torch")
    assert "1 skipped, 1 deselected, 1 error" in text
    assert "test_with_torch is named in NORMDROP_TEST_FRAMEWORKS" in text


def test_a_framework_that_is_not_installed_is_refused(tmp_path):
    text = run(tmp_path, "@pytest.mark.frameworks", "no_such_package")
    assert "must name installed packages, got 'no_such_package'" in text
    assert "passed" not in text
