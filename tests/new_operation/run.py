"""Follows the steps of CONTRIBUTING for a new operation in a copy of the tree, and shows that every
test that loops over operations has picked it up and notices faults in it.

    python tests/new_operation/run.py [--jobs N] [--keep FOLDER]

The operation is ``scale_shift``, on the CPU and on the emulated GPU; its files lie beside this one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faults import FAULTS, plant
from steps import follow

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(
    "build", ".venv*", ".git", "__pycache__", "*.so", "new_operation", "normdrop-demo"
)
LOOPING = [
    "test_described", "test_bad_input", "test_layouts", "test_array_kinds", "test_determinism",
    "test_output_pool", "test_staging", "test_device_arrays",
]  # fmt: skip
# Of those, what asks for a backend, and so runs on the emulated GPU as well.
ON_THE_DEVICE = ["test_described", "test_layouts"]


def tool(name: str) -> str:
    """A program beside Python, where pip puts it, or on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"run.py: {name} must be installed: pip install {name}")
    return found


class Tree:
    """The copy, built in a folder of its own."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder = folder / "tree"
        self.build_folder = self.folder / "build" / "new"
        self.jobs = jobs
        shutil.copytree(ROOT, self.folder, ignore=LEFT_OUT)

    def build(self) -> None:
        command = [sys.executable, "-m", "pybind11", "--cmakedir"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        options = ["-DNORMDROP_CUDA=OFF", "-DNORMDROP_CUDA_EMULATION=ON", f"-Dpybind11_DIR={found}",
                   "-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}",
                   f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]  # fmt: skip
        if shutil.which("ccache"):
            options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        cmake, where = tool("cmake"), str(self.build_folder)
        self._run(cmake, "-S", str(self.folder), "-B", where, "-G", "Ninja", *options)
        self._run(cmake, "--build", where, "--target", "_core", "--parallel", str(self.jobs))
        for module in self.build_folder.glob("_core*.so"):
            shutil.copy(module, self.folder / "python" / "normdrop")

    def _run(self, *command: str) -> None:
        base = {"CCACHE_BASEDIR": str(self.folder), "CCACHE_NOHASHDIR": "1"}
        done = subprocess.run(
            command, env={**os.environ, **base}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}")

    def python(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A program of the copy, with its package."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "python"), **variables}
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    def pytest(self, names: list[str], *words: str, **variables: str) -> str:
        files = [f"tests/{name}.py" for name in names]
        options = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-k", "scale_shift"]
        done = self.python("-m", "pytest", *options, *words, *files, **variables)
        if done.returncode > 1:  # neither passed nor failed tests
            raise SystemExit(f"{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout


def per_file(text: str, pattern: str) -> Counter[str]:
    return Counter(re.findall(pattern, text, re.MULTILINE))


def failed(text: str) -> Counter[str]:
    return per_file(text, r"^(?:FAILED|ERROR) tests/(\w+)\.py::")


def require_no_failure(text: str, what: str) -> None:
    if failed(text) or " passed" not in text:
        raise SystemExit(f"{what}:\n{text[-6000:]}")


def show_cases(tree: Tree) -> None:
    """How many cases each looping test has of the operation; none has none."""
    listed = per_file(tree.pytest(LOOPING, "--collect-only"), r"^tests/(\w+)\.py::")
    for name in LOOPING:
        print(f"  {listed[name]:5} {name}")
    if missing := [name for name in LOOPING if not listed[name]]:
        raise SystemExit(f"not picked up by {', '.join(missing)}")


def require_digests(tree: Tree) -> None:
    done = tree.python("tests/digests.py")
    lines = (tree.folder / "tests/digests.json").read_text().count("scale_shift")
    changed = len((ROOT / "tests/digests.json").read_text().splitlines())
    total = len((tree.folder / "tests/digests.json").read_text().splitlines())
    if done.returncode or not lines or total != changed + lines:
        raise SystemExit(f"digests: {lines} new ones of {total - changed}\n{done.stderr}")
    print(f"  {lines:5} digests")


def show_faults(tree: Tree) -> None:
    """Each fault, and the tests that notice it."""
    unnoticed = []
    for fault in FAULTS:
        noticed = failed(tree.pytest(LOOPING, NORMDROP_PLANTED=fault.name))
        print(f"  {fault.name}: " + (", ".join(noticed) or "NOT NOTICED"), flush=True)
        missing = [name for name in fault.noticed_by if not noticed[name]]
        unnoticed += [f"{fault.name}: not by {', '.join(missing)}"] if missing else []
    if unnoticed:
        raise SystemExit("\n".join(unnoticed))


def run(tree: Tree) -> None:
    print("Files touched:")
    for line in follow(tree.folder):
        print(f"  {line}")
    tree.build()
    print("Cases of the looping tests:")
    show_cases(tree)
    require_digests(tree)
    own = ["test_scale_shift", "test_docs", *LOOPING]
    require_no_failure(tree.pytest(own), "without a fault")
    device = {"NORMDROP_TEST_BACKENDS": "cuda-emulated"}
    require_no_failure(tree.pytest(ON_THE_DEVICE, **device), "on the emulated GPU")
    print("All pass. With a fault, these fail:")
    plant(tree.folder)
    tree.build()
    require_no_failure(tree.pytest(["test_described"]), "with faults that do not act")
    show_faults(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="where to work and leave everything")
    arguments = parser.parse_args()
    begin = time.monotonic()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="new-operation-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run(Tree(folder, arguments.jobs))
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
