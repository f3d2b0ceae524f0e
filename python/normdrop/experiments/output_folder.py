"""Where the demo writes: files that carry its mark, and none that is somebody else's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from normdrop.experiments.wording import printable

MARK = "normdrop demo"
HEAD_BYTES = 1024
# Where the mark stands in the head of each kind of file.
SIGNATURES = {
    ".html": f'<meta name="generator" content="{MARK}">',
    ".json": f'"program": "{MARK}"',
    ".png": f"Software\0{MARK}",
}


def claim(folder: Path, names: Iterable[str]) -> None:
    """Make the folder, and see that files of these names can be written and are not another's.

    Parameters
    ----------
    folder : Path
        Made with its parents where it is missing.
    names : iterable of str
        Of the files to be written.

    Raises
    ------
    OSError
        It is no folder, cannot be written to, or one of the files was not written by the demo.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(f"{printable(str(folder))}: not a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{printable(str(folder))}: cannot be written to: {reason}") from error
    for path in (folder / name for name in names):
        if os.path.lexists(path) and not is_own(path):
            raise FileExistsError(
                f"{printable(str(path))}: not written by this program, or read-only; "
                "choose another folder with --out"
            )


def is_own(path: Path) -> bool:
    """Whether the file carries the demo's mark, and may be written over."""
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        return False
    with path.open("rb") as file:
        return SIGNATURES[path.suffix].encode() in file.read(HEAD_BYTES)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files; the folder must have been claimed."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
