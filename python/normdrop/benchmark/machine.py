"""What a measurement ran on: processor, caches, memory, versions and the commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

KIB = 1024
_CACHE_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
_VERSIONED = ("normdrop", "numpy", "torch", "jax", "jaxlib", "onnxruntime")


@dataclass(frozen=True)
class Caches:
    """Sizes in bytes of the caches that decide whether a second read comes from memory.

    Attributes
    ----------
    per_core : int
        The largest cache below the last level, which a core has to itself (level two as a rule).
    last_level : int
        The largest cache of all.
    cores_sharing : int
        How many processors share the last level.
    source : str
        Where the sizes come from: ``sysfs`` or ``assumed``.
    """

    per_core: int
    last_level: int
    cores_sharing: int
    source: str

    def holds(self, bytes_per_thread: int, threads: int) -> bool:
        """Whether every thread can keep so many bytes in cache between two passes."""
        sharing = max(1, min(threads, self.cores_sharing))
        return bytes_per_thread <= max(self.per_core, self.last_level // sharing)


# A laptop's sizes, for systems that do not tell (macOS, containers without sysfs).
ASSUMED_CACHES = Caches(1024 * KIB, 8192 * KIB, 4, "assumed")


def read_caches(folder: Path = _CACHE_FOLDER) -> Caches:
    """Read the cache sizes of the first processor from sysfs, or assume a laptop's.

    Parameters
    ----------
    folder : Path
        The processor's ``cache`` folder in sysfs.
    """
    found: list[tuple[int, int, int]] = []
    for index in sorted(folder.glob("index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            level = int((index / "level").read_text())
            size = _parse_size((index / "size").read_text())
            sharing = _count_processors((index / "shared_cpu_list").read_text())
        except (OSError, ValueError):
            continue
        found.append((level, size, sharing))
    if not found:
        return ASSUMED_CACHES
    top, last_level, cores_sharing = max(found)
    below = [size for level, size, _ in found if level < top]
    return Caches(max(below, default=last_level), last_level, cores_sharing, "sysfs")


def _parse_size(text: str) -> int:
    text = text.strip()
    units = {"K": KIB, "M": KIB * KIB, "G": KIB * KIB * KIB}
    if text[-1:] in units:
        return int(text[:-1]) * units[text[-1]]
    return int(text)


def _count_processors(text: str) -> int:
    total = 0
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def available_processors() -> int:
    """Count the processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Count the bytes of memory that can still be had; 4 GiB where the system does not tell."""
    meminfo = _read_fields(Path("/proc/meminfo"))
    available = meminfo.get("MemAvailable", "").split()
    return int(available[0]) * KIB if available else 4 * KIB**3


def describe_machine() -> dict[str, Any]:
    """Tell processor, caches, memory and system, as they go into a results file."""
    caches = read_caches()
    memory = _read_fields(Path("/proc/meminfo")).get("MemTotal", "").split()
    return {
        "cpu": _processor_name(),
        "architecture": platform.machine(),
        "processors": available_processors(),
        "cache_per_core_bytes": caches.per_core,
        "cache_last_level_bytes": caches.last_level,
        "cache_last_level_shared_by": caches.cores_sharing,
        "cache_source": caches.source,
        "memory_bytes": int(memory[0]) * KIB if memory else None,
        "huge_pages": _read_text(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "system": platform.system(),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def describe_versions() -> dict[str, str]:
    """List the versions of Python, of this package and of every peer that is installed."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with ``-dirty``, or None."""
    git = shutil.which("git")
    if git is None:
        return None
    package = Path(__file__).resolve().parent.parent
    folder = package if _is_tracked(git, package / "__init__.py") else _checkout_here()
    if folder is None:
        return None
    commit = _ask_git(git, folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("-dirty" if _ask_git(git, folder, "status", "--porcelain", "-uno") else "")


def _checkout_here() -> Path | None:
    """Return the working folder, where it is a checkout from which a wheel was installed."""
    here = Path.cwd()
    return here if (here / "python" / "normdrop" / "__init__.py").is_file() else None


def _is_tracked(git: str, path: Path) -> bool:
    return _ask_git(git, path.parent, "ls-files", "--error-unmatch", path.name) is not None


def _ask_git(git: str, folder: Path, *arguments: str) -> str | None:
    command = [git, "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor_name() -> str:
    name = _read_fields(Path("/proc/cpuinfo")).get("model name")
    return name or platform.processor() or platform.machine()


def _read_fields(path: Path) -> dict[str, str]:
    """Read the ``name: value`` lines of a file in /proc; the first of each name counts."""
    fields: dict[str, str] = {}
    for line in (_read_text(path) or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
