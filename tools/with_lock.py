"""Run a command while no other one runs under the same lock: ``with_lock.py FILE COMMAND...``.

Two makes at once would otherwise compile into one folder, or install into one environment.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path


def main(lock: str, *command: str) -> int:
    """Return the command's exit status."""
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
