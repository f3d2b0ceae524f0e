"""Files that a benchmark writes: tried before the measuring, and no results lost after it."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from normdrop.cli.ending import WRONG_ARGUMENTS, CommandError, describe

if TYPE_CHECKING:
    from normdrop.benchmark import Report

OPTIONS = ("json", "markdown", "plot")


def output_file(text: str) -> Path:
    """Turn an argument into the path of a file."""
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file, got ''")
    return Path(text)


def check_outputs(args: argparse.Namespace) -> None:
    """Find out before minutes of measuring what could not be written after them."""
    asked = _asked(args)
    for option, path in asked.items():
        try:
            _try_to_write(path)
        except OSError as error:
            fault = _fault(path, error)
            raise CommandError(f"--{option}: {path}: {fault}", WRONG_ARGUMENTS) from error
    for option, path in asked.items():
        for other in OPTIONS[: OPTIONS.index(option)]:
            if other in asked and asked[other].resolve() == path.resolve():
                raise CommandError(f"--{other} and --{option} name one file", WRONG_ARGUMENTS)
    if args.plot is not None:
        _check_plot(args.plot)


def _asked(args: argparse.Namespace) -> dict[str, Path]:
    return {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}


def _fault(path: Path, error: OSError) -> str:
    """Tell why a file cannot be written; for a missing folder, which of the two is not there."""
    parent = path.absolute().parent
    if isinstance(error, FileNotFoundError) and not os.path.lexists(parent):
        return f"there is no folder {parent}"
    return error.strerror or str(error)


def _try_to_write(path: Path) -> None:
    """Open for writing and leave everything as it was; an OSError where that fails."""
    if not path.exists():
        path = Path(os.path.realpath(path))  # a link to a file that is not there yet
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        path.unlink()
        return
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        os.close(os.open(path, os.O_WRONLY))
    elif not os.access(path, os.W_OK):  # opened and closed, a pipe would end for its reader
        raise PermissionError(None, "Permission denied")


def _check_plot(path: Path) -> None:
    from normdrop.benchmark.plot import plot_format

    try:
        plot_format(path)
    except ModuleNotFoundError as error:
        text = "--plot needs matplotlib: pip install 'normdrop[plot]'"
        raise CommandError(text, WRONG_ARGUMENTS) from error
    except ImportError as error:
        raise CommandError(f"--plot: matplotlib cannot be imported: {error}") from error
    except ValueError as error:
        raise CommandError(f"--plot: {error}", WRONG_ARGUMENTS) from error


def save_outputs(args: argparse.Namespace, report: Report) -> bool:
    """Write what was asked for; tell whether all of it was written.

    Where a file fails and no JSON was written, the results go into a new file in the folder for
    temporary files, else to standard output.
    """
    from normdrop.benchmark.plot import save_plot
    from normdrop.benchmark.report import save_markdown

    writers: dict[str, Callable[[Path], None]] = {
        "json": report.save,
        "markdown": partial(save_markdown, report),
        "plot": partial(save_plot, report),
    }
    asked = _asked(args)
    failed = [option for option, path in asked.items() if not _wrote(path, writers[option])]
    if failed and ("json" in failed or "json" not in asked):
        _rescue(report)
    return not failed


def _wrote(path: Path, write: Callable[[Path], None]) -> bool:
    """Write one file; whatever goes wrong must not cost the others."""
    try:
        write(path)
    except OSError as error:
        fault = describe(error) if error.filename else f"{path}: {describe(error)}"
        print(f"normdrop bench: {fault}", file=sys.stderr)
        return False
    except Exception:
        traceback.print_exc()
        print(f"normdrop bench: {path}: was not written", file=sys.stderr)
        return False
    print(f"wrote {path}", file=sys.stderr)
    return True


def _rescue(report: Report) -> None:
    text = report.to_json()
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="normdrop-bench-", suffix=".json", encoding="utf-8", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                os.unlink(file.name)
                raise
    except OSError:
        print("normdrop bench: the results as JSON are on standard output", file=sys.stderr)
        print(text, end="")
        return
    print(f"normdrop bench: the results as JSON are in {file.name}", file=sys.stderr)
