"""Build and install for the card of this machine into build/gpu-check, offline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "gpu-check"
PACKAGE = FOLDER / "package"
_SOURCES = ("csrc", "cmake", "python", "CMakeLists.txt", "pyproject.toml")
_LONGEST_SECONDS = 400.0


class BuildError(Exception):
    """The build failed; the text holds the end of its messages."""


def build(cuda: bool) -> str:
    """Build unless a build of the same sources is there; tell which it was."""
    stamp = FOLDER / "fingerprint"
    wanted = f"{fingerprint()} cuda={cuda}"
    if stamp.is_file() and stamp.read_text() == wanted and PACKAGE.is_dir():
        return "a build of the same sources is there"
    stamp.unlink(missing_ok=True)
    shutil.rmtree(PACKAGE, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            install_command(cuda), cwd=ROOT, env=_environment(), capture_output=True, text=True,
            timeout=_LONGEST_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(f"not finished after {_LONGEST_SECONDS:g} s") from None
    (FOLDER / "build.log").write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise BuildError("\n".join(lines[-40:]))
    stamp.write_text(wanted)
    return "built"


def install_command(cuda: bool) -> list[str]:
    """Return pip's command; what it needs must be installed already."""
    options = {
        "NORMDROP_CUDA": "ON" if cuda else "OFF",
        "NORMDROP_CUDA_EMULATION": "ON",
    }
    if cuda:
        options["CMAKE_CUDA_ARCHITECTURES"] = "native"
    defines = [f"--config-settings=cmake.define.{name}={value}" for name, value in options.items()]
    return [
        sys.executable, "-m", "pip", "install", "--verbose", "--no-build-isolation", "--no-deps",
        "--no-index", "--disable-pip-version-check", "--target", str(PACKAGE),
        f"--config-settings=build-dir={FOLDER / 'cmake'}", *defines, str(ROOT),
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    environment = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1), **os.environ}
    if shutil.which("ninja"):
        environment["CMAKE_GENERATOR"] = "Ninja"
    return environment


def fingerprint() -> str:
    """Digest of everything that a build is made of, the Python that it is for among it."""
    digest = hashlib.sha256(f"{sys.executable} {sys.version}".encode())
    for path in source_files():
        digest.update(str(path.relative_to(ROOT)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_files() -> list[Path]:
    """List the sources, in a fixed order."""
    found: list[Path] = []
    for name in _SOURCES:
        path = ROOT / name
        found += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    kept = (p for p in found if p.suffix not in (".so", ".pyc", ".new"))
    return sorted(kept)


def usable_backends(package: Path | None) -> tuple[list[str], str]:
    """Ask a fresh process for the backends of a package, or of the one that is installed."""
    command = (
        "import json, normdrop as nd; "
        "print(json.dumps([nd.backends(), nd.show_config('dict')['backends_unusable']]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment_of(package), capture_output=True, text=True
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return [], lines[-1] if lines else "normdrop cannot be imported"
    usable, unusable = json.loads(done.stdout.strip().splitlines()[-1])
    return usable, unusable.get("cuda", "the installed build holds no CUDA backend")


def environment_of(package: Path | None) -> dict[str, str]:
    """Return the environment in which the package and this one are imported."""
    folders = [str(ROOT / "bench"), *([str(package)] if package else [])]
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, *([known] if known else [])])}
