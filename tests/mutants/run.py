"""Whether the tests of the CUDA kernels notice errors: puts each of ``mutants.py`` into a copy of
the sources, builds the driver of the emulated GPU and runs the operation's groups.

    python tests/mutants/run.py [--list] [--jobs N] [NAME...]

A mutant whose driver passes in every order has survived, and fails this script; so does one whose
text is not found exactly once, or which does not compile. The driver must pass without any first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("CMakeLists.txt", "cmake", "csrc", "tests/cpp")
ORDERS = ("forward", "reverse", "priority:1")
RUN_SECONDS = 600
TARGET = "normdrop_cuda_driver"


class Failure(Exception):
    """Something about a mutant that makes this script fail."""


def tool(name: str) -> str:
    """A program beside Python, where pip puts it, or on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"run.py: {name} must be installed: pip install {name}")
    return found


class Tree:
    """A copy of the sources with a build folder of its own."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.folder = folder
        self.jobs = jobs
        self.changed: tuple[Path, str] | None = None
        for source in SOURCES:
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            copy(ROOT / source, folder / source)
        options = ["-DNORMDROP_BUILD_DRIVER=ON", "-DNORMDROP_CUDA_EMULATION=ON"]
        options += ["-DNORMDROP_CUDA=OFF", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG="]
        ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
        configure = [tool("cmake"), "-S", str(folder), "-B", str(folder / "build"), *ninja]
        subprocess.run([*configure, *options], check=True, stdout=subprocess.DEVNULL)

    def restore(self) -> None:
        if self.changed is not None:
            path, text = self.changed
            path.write_text(text)
            self.changed = None

    def put(self, mutant: Mutant) -> None:
        """The next build compiles what this changes, and what the mutant before it had changed."""
        self.restore()
        path = self.folder / "csrc" / "cuda" / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise Failure(f"the old text stands {text.count(mutant.old)} times in {mutant.file}")
        self.changed = (path, text)
        path.write_text(text.replace(mutant.old, mutant.new))

    def build(self) -> None:
        command = [tool("ninja"), "-C", str(self.folder / "build"), "-j", str(self.jobs), TARGET]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Failure("does not compile:\n" + result.stdout[-3000:])

    def first_failure(self, groups: str) -> str:
        """Order and case of the first failure; empty where all pass in every order."""
        driver = self.folder / "build" / "tests" / "cpp" / "cuda" / TARGET
        for order in ORDERS:
            environment = {**os.environ, "NORMDROP_EMULATION_ORDER": order}
            command = [str(driver), "--quick", "--stop", "--only", groups]
            try:
                result = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    env=environment,
                    timeout=RUN_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"{order}: no end after {RUN_SECONDS} s"
            if result.returncode != 0:
                return f"{order}: {failed_case(result)}"
            if result.stdout.endswith("\n0 passed, 0 failed\n"):
                raise Failure(f"no group has {groups!r} in its name")
        return ""


def failed_case(result: subprocess.CompletedProcess[str]) -> str:
    for line in (result.stdout + result.stderr).splitlines():
        if "FAILED" in line:
            return line.strip().removeprefix("FAILED").lstrip(": ")
    return f"exit status {result.returncode}"


def run_all(tree: Tree, mutants: list[Mutant]) -> int:
    tree.build()
    for groups in sorted({mutant.groups for mutant in mutants}):
        if found := tree.first_failure(groups):
            print(f"without a mutant: {found}")
            return 1
    failures = 0
    for mutant in sorted(mutants, key=lambda mutant: mutant.file):
        start = time.monotonic()
        try:
            tree.put(mutant)
            tree.build()
            found = tree.first_failure(mutant.groups)
            if not found:
                raise Failure(f"SURVIVED: {mutant.why}")
        except Failure as failure:
            failures += 1
            found = f"FAILURE: {failure}"
        print(f"{mutant.name} ({time.monotonic() - start:.0f} s): {found}", flush=True)
    print(f"{len(mutants) - failures} of {len(mutants)} mutants noticed")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutants")
    parser.add_argument("--list", action="store_true", help="print the names and why they matter")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"unknown mutants: {', '.join(sorted(unknown))}")
    chosen = [m for m in MUTANTS if not arguments.names or m.name in arguments.names]
    if arguments.list:
        for mutant in chosen:
            print(f"{mutant.name}: {mutant.why} ({mutant.file})")
        return 0
    with tempfile.TemporaryDirectory(prefix="normdrop-mutants-") as folder:
        return run_all(Tree(Path(folder), arguments.jobs), chosen)


if __name__ == "__main__":
    sys.exit(main())
