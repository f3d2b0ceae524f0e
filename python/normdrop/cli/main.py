"""The entry point: one parser, one sub-parser a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import normdrop
from normdrop.cli import bench, demo, info

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
COMMANDS = (info, bench, demo)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole program."""
    parser = argparse.ArgumentParser(
        prog="normdrop",
        description="Layer norm, batch norm and dropout for NumPy arrays.",
    )
    parser.add_argument("--version", action="version", version=f"normdrop {normdrop.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
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
        Exit status: 0 on success, 1 on failure, 2 for wrong arguments, 130 after Ctrl-C.
    """
    try:
        args = build_parser().parse_args(arguments)
        status: int = args.func(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("normdrop: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from flushing into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
