"""Build the wheel, in a build folder that the next build goes on with.

    python tools/build_wheel.py FOLDER [OPTION=VALUE...]

pip builds in a new environment each time, and CMake begins anew with it. This calls what pip calls,
in the environment it runs in, which holds scikit-build-core, pybind11, CMake and Ninja. The options
are CMake's. FOLDER has one wheel afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scikit_build_core.build import build_wheel


def main(name: str, *options: str) -> None:
    """Build into the folder; the wheel that lay there is replaced at the end, by a rename."""
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    settings = dict(f"cmake.define.{option}".split("=", 1) for option in options)
    settings["build-dir"] = f"{folder}/{{wheel_tag}}"
    with tempfile.TemporaryDirectory(dir=folder) as made:
        wheel = folder / build_wheel(made, settings)
        (Path(made) / wheel.name).replace(wheel)
    for other in set(folder.glob("*.whl")) - {wheel}:
        other.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
