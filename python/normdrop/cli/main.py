"""The entry point: one parser, one sub-parser a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import normdrop
from normdrop.cli import bench, compare, demo, info
from normdrop.cli.ending import (
    BAD_ENVIRONMENT,
    FAILURE,
    INTERRUPTED,
    STATUSES,
    CommandError,
    describe,
)
from normdrop.runtime import read_settings

COMMANDS = (info, bench, compare, demo)
# They compute nothing, or tell of the faults themselves.
WITHOUT_SETTINGS = ("info", "compare")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole program."""
    parser = argparse.ArgumentParser(
        prog="normdrop",
        description="Layer norm, batch norm and dropout for NumPy arrays.",
        epilog=STATUSES,
    )
    parser.add_argument("--version", action="version", version=f"normdrop {normdrop.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line unless given.

    Returns
    -------
    int
        Exit status: 0 on success, 1 on failure, 2 for wrong arguments, 3 for a bad variable of
        the environment, 130 after Ctrl-C.
    """
    command = ""
    _prepare_output()
    try:
        args = build_parser().parse_args(arguments)
        command = f" {args.command}"
        if args.command not in WITHOUT_SETTINGS:
            _check_environment()
        status: int = args.func(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"normdrop{command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()  # the reader (head, less) has seen enough
        return 0
    except (CommandError, OSError, MemoryError) as error:
        print(f"normdrop{command}: {describe(error)}", file=sys.stderr)
        _flush_what_can_be()
        return error.status if isinstance(error, CommandError) else FAILURE


def _check_environment() -> None:
    """Find out before the work what would stop it in the middle."""
    _, faults = read_settings()
    if faults:
        raise CommandError("; ".join(map(describe, faults.values())), BAD_ENVIRONMENT)


def _prepare_output() -> None:
    """Let no character stop a line, and a closed standard output be none."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the program
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush_what_can_be() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Keep the interpreter from flushing at its end what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
